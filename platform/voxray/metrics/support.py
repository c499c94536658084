"""The samples that a metric of a classifier rests on: an interval needs enough patients who have some."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from voxray.metrics.classification import Samples

Bools = NDArray[np.bool_]

MIN_PATIENTS = 5  # of an interval; fewer say too little of their variance


def class_samples(samples: "Samples", metric: str, label: int) -> list[Bools]:
    """The samples that a metric of `Samples.by_class`, or roc_auc, of one class needs."""
    true, predicted = samples.labels == label, samples.predicted == label
    return {
        "precision": [predicted],
        "recall": [true],
        "f1": [true | predicted],
        "specificity": [~true],
        "npv": [~predicted],
        "roc_auc": [true, ~true],
    }[metric]


def of_scored_classes(metric: str) -> Callable[["Samples"], Sequence[Bools]]:
    """The samples that a metric needs of each of `scored_classes`, a function of `Samples`."""

    def masks(samples: "Samples") -> Sequence[Bools]:
        return [chosen for label in samples.scored_classes for chosen in class_samples(samples, metric, label)]

    return masks


def samples_of_each_class(samples: "Samples") -> Sequence[Bools]:
    """The samples of each class, of two classes both."""
    return [samples.labels == label for label in range(samples.classes)]
