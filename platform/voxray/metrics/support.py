"""The samples that a metric of a classifier rests on: an interval needs enough patients who have some."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from voxray.metrics.classification import Samples

Bools = NDArray[np.bool_]

MIN_PATIENTS = 5  # of an interval; fewer say too little of their variance


def true_samples(samples: "Samples") -> Sequence[Bools]:
    """The samples of each of `scored_classes`."""
    return [samples.labels == label for label in samples.scored_classes]


def predicted_samples(samples: "Samples") -> Sequence[Bools]:
    """The samples that are predicted as each of `scored_classes`."""
    return [samples.predicted == label for label in samples.scored_classes]


def true_or_predicted_samples(samples: "Samples") -> Sequence[Bools]:
    """The samples of each of `scored_classes`, or predicted as it."""
    return [true | predicted for true, predicted in zip(true_samples(samples), predicted_samples(samples), strict=True)]


def other_samples(samples: "Samples") -> Sequence[Bools]:
    """The samples of the classes other than each of `scored_classes`."""
    return [samples.labels != label for label in samples.scored_classes]


def samples_predicted_otherwise(samples: "Samples") -> Sequence[Bools]:
    """The samples that are predicted as a class other than each of `scored_classes`."""
    return [samples.predicted != label for label in samples.scored_classes]


def samples_of_each_class(samples: "Samples") -> Sequence[Bools]:
    """The samples of each class, of two classes both."""
    return [samples.labels == label for label in range(samples.classes)]
