"""Metrics of each class of a classifier against the rest, and their means, as a classification report has them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from voxray.metrics.classification import Samples, defined_mean
from voxray.metrics.curves import Floats, area_under_roc

COLUMNS = ("precision", "recall", "f1", "specificity", "roc_auc")


def class_table(samples: Samples, names: Sequence[str]) -> dict[str, Any]:
    """The metrics of each class, and the means over the classes.

    Parameters
    ----------
    samples : Samples
    names : sequence of str
        Of the labels 0, 1, …

    Returns
    -------
    dict
        ``classes``: name → precision, recall, f1, specificity and support (samples, or the sum of their weights), and
        with more than two classes roc_auc. ``macro``, ``weighted``: the means of these, plain and weighted by support.
        NaN where a class is absent or never predicted; means leave it out.
    """
    columns = {name: samples.by_class[name] for name in COLUMNS if name in samples.by_class}
    if samples.classes > 2:
        columns["roc_auc"] = _areas(samples)
    support = samples.confusion.sum(axis=1)
    return {
        "classes": {
            name: {**{key: float(values[label]) for key, values in columns.items()}, "support": support[label].item()}
            for label, name in enumerate(names)
        },
        "macro": {key: defined_mean(values) for key, values in columns.items()},
        "weighted": {key: defined_mean(values, support) for key, values in columns.items()},
    }


def _areas(samples: Samples) -> Floats:
    return np.array([area_under_roc(*counts) for counts in samples.positives])
