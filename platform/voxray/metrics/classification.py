"""Metrics of a classifier, each a function of `Samples`.

With two classes, class 1 is the positive one: it is predicted where its probability reaches the threshold. With more,
the most probable class is predicted, and recall, precision, F1 and the areas are means over the classes.

**A metric of a class that is absent or never predicted is NaN, and a mean over the classes leaves it out**, as in
`sklearn.metrics.classification_report` with ``zero_division=nan``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from voxray.metrics.curves import (
    Counts,
    Floats,
    Ints,
    Ranking,
    area_under_precision_recall,
    area_under_roc,
    choose_threshold,
    ratio,
    recall_at_precision,
)
from voxray.metrics.metric import Metric
from voxray.metrics.support import of_scored_classes, samples_of_each_class


@dataclass(frozen=True, eq=False)
class Samples:
    """Evaluated patches or patients, and what several metrics compute from them.

    Attributes
    ----------
    labels : ndarray of int, (n,)
    probabilities : ndarray, (n, classes)
    predicted : ndarray of int, (n,)
        The predicted classes.
    weights : ndarray, (n,), optional
        How much each sample counts; at least 0, and need not be whole numbers.
    target_recall, target_precision : float
        Operating points of the metrics at a target.
    rankings : dict
        Sorted samples by class; shared by all weightings of the same samples.
    """

    labels: Ints
    probabilities: Floats
    predicted: Ints
    weights: Floats | None = None
    target_recall: float = 0.9
    target_precision: float = 0.74
    rankings: dict[int, Ranking] = field(default_factory=dict)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return int(self.probabilities.shape[1])

    @property
    def scored_classes(self) -> tuple[int, ...]:
        """The classes whose metrics are averaged: the positive one of two, else all."""
        return (1,) if self.classes == 2 else tuple(range(self.classes))

    @cached_property
    def confusion(self) -> Counts:
        """Counts (truth, predicted)."""
        return confusion_counts(self.labels, self.predicted, self.classes, self.weights)

    @cached_property
    def by_class(self) -> dict[str, Floats]:
        """Metrics of each class against the rest, (classes,); NaN where undefined."""
        right, true, predicted = np.diag(self.confusion), self.confusion.sum(axis=1), self.confusion.sum(axis=0)
        # Sums over the other classes; a difference of sums of weights would not be exactly 0.
        others = 1 - np.eye(self.classes)
        true_negatives = ((others @ self.confusion) * others).sum(axis=1)
        return {
            "precision": ratio(right, predicted),
            "recall": ratio(right, true),
            "f1": ratio(2 * right, true + predicted),
            "specificity": ratio(true_negatives, others @ true),
            "npv": ratio(true_negatives, others @ predicted),
        }

    def ranking(self, label: int) -> Ranking:
        """The samples sorted by the probability of one class."""
        if label not in self.rankings:
            self.rankings[label] = Ranking(self.labels == label, self.probabilities[:, label])
        return self.rankings[label]

    @cached_property
    def positives(self) -> list[tuple[Floats, Floats]]:
        """True and false positives at each threshold, for each of `scored_classes`."""
        return [self.ranking(label).counts(self.weights) for label in self.scored_classes]

    def class_mean(self, name: str) -> float:
        """The mean of a metric of `by_class` over those of `scored_classes` that have a value."""
        return defined_mean(self.by_class[name][list(self.scored_classes)])


def defined_mean(values: Floats, weights: Floats | None = None) -> float:
    """The mean of those values that are not NaN; NaN if there is none, or they have no weight."""
    amounts = np.ones(len(values)) if weights is None else np.asarray(weights, float)
    defined = np.isfinite(values)
    return float(ratio(np.sum(values[defined] * amounts[defined]), amounts[defined].sum()))


def predict_labels(probabilities: Floats, threshold: float | Floats | None = None) -> Ints:
    """The predicted class of each sample, from (n, classes) probabilities.

    The threshold, for two classes, is a number or an array (n,) with one for each sample.
    """
    if probabilities.shape[1] == 2 and threshold is not None:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    predicted: Ints = probabilities.argmax(axis=1).astype(np.int64)
    return predicted


def confusion_counts(labels: Ints, predicted: Ints, classes: int, weights: Floats | None = None) -> Counts:
    """Counts (truth, predicted), or sums of weights. Those of parts of the data add up to those of the whole."""
    counts: Counts = np.bincount(labels * classes + predicted, weights, minlength=classes * classes)
    return counts.reshape(classes, classes)


def recall(samples: Samples) -> float:
    """Share of the samples of a class that are predicted as it."""
    return samples.class_mean("recall")


def precision(samples: Samples) -> float:
    """Share of the predictions of a class that are right."""
    return samples.class_mean("precision")


def f1(samples: Samples) -> float:
    """Harmonic mean of recall and precision."""
    return samples.class_mean("f1")


def npv(samples: Samples) -> float:
    """Share of the predictions of anything but a class that are right about that."""
    return samples.class_mean("npv")


def accuracy(samples: Samples) -> float:
    """Share of all samples whose predicted class is right."""
    return float(ratio(np.trace(samples.confusion), samples.confusion.sum()))


def error(samples: Samples) -> float:
    """Share of all samples whose predicted class is wrong."""
    return 1 - accuracy(samples)


def balanced_accuracy(samples: Samples) -> float:
    """Mean of the recalls of all classes that occur; NaN if fewer than two do."""
    recalls = samples.by_class["recall"]
    return defined_mean(recalls) if np.isfinite(recalls).sum() > 1 else math.nan


def roc_auc(samples: Samples) -> float:
    """Area under the ROC curve, of each class against the rest."""
    return _mean_area(samples, area_under_roc)


def average_precision(samples: Samples) -> float:
    """Mean precision over all recalls, of each class against the rest."""
    return _mean_area(samples, area_under_precision_recall)


def precision_at_target(samples: Samples) -> float:
    """Precision at the highest threshold that reaches the target recall."""
    threshold = choose_threshold(samples.ranking(1), samples.target_recall)
    return precision(replace(samples, predicted=predict_labels(samples.probabilities, threshold)))


def recall_at_target(samples: Samples) -> float:
    """Highest recall of all thresholds that reach the target precision."""
    return recall_at_precision(samples.ranking(1), samples.target_precision)


def _mean_area(samples: Samples, area: Callable[[Floats, Floats], float]) -> float:
    return defined_mean(np.array([area(true, false) for true, false in samples.positives]))


LOSS = Metric(
    "loss",
    "Loss",
    None,
    "mean cross-entropy, in nats",
    tasks=("classification", "segmentation"),
    higher_is_better=False,
    undefined="the split has no {level}",
    bounds=(0, math.inf),
    interval=False,
    in_terminal=False,
)
RECALL = Metric(
    "recall",
    "Recall",
    recall,
    "share of the {positive} {levels} that are found; also called sensitivity",
    multiclass_description="share of the {levels} of a class that are predicted as it, mean over the classes",
    undefined="the split has no {positive} {level}",
    rests_on=of_scored_classes("recall"),
)
PRECISION = Metric(
    "precision",
    "Precision",
    precision,
    "share of positive predictions that are true {positive} {levels}; depends on the prevalence",
    multiclass_description="share of the predictions of a class that are right, mean over the classes",
    undefined="{positive} is never predicted in this split",
    rests_on=of_scored_classes("precision"),
)
NPV = Metric(
    "npv",
    "NPV",
    npv,
    "negative predictive value: share of negative predictions that are true {negative} {levels}; depends on the "
    "prevalence",
    multiclass_description="share of the predictions of another class that are right about that, mean over the classes",
    undefined="everything is predicted as {positive} in this split",
    per_epoch=False,
    rests_on=of_scored_classes("npv"),
    in_terminal=False,
)
F1 = Metric(
    "f1",
    "F1",
    f1,
    "harmonic mean of recall and precision",
    multiclass_description="harmonic mean of recall and precision, mean over the classes",
    undefined="{positive} is neither present nor predicted in this split",
    rests_on=of_scored_classes("f1"),
    in_terminal=False,
)
ACCURACY = Metric(
    "accuracy",
    "Accuracy",
    accuracy,
    "share of all {levels} that are predicted right",
    undefined="the split has no {level}",
    in_terminal=False,
)
ERROR = Metric(
    "error",
    "Error",
    error,
    "share of all {levels} that are predicted wrong",
    higher_is_better=False,
    undefined="the split has no {level}",
    per_epoch=False,
)
BALANCED_ACCURACY = Metric(
    "balanced_accuracy",
    "Balanced accuracy",
    balanced_accuracy,
    "mean of the recalls of {negative} and of {positive}",
    multiclass_description="mean over the classes of their recalls",
    undefined="fewer than two classes have a {level} in this split",
    rests_on=samples_of_each_class,
    in_terminal=False,
)
ROC_AUC = Metric(
    "roc_auc",
    "ROC AUC",
    roc_auc,
    "probability that a {level} of class {positive} scores higher than one of class {negative}; needs no threshold",
    multiclass_description="probability that a {level} of a class scores higher for it than another {level}, "
    "mean over the classes",
    undefined="fewer than two classes have a {level} in this split",
    rests_on=samples_of_each_class,
)
AVERAGE_PRECISION = Metric(
    "average_precision",
    "Average precision",
    average_precision,
    "mean precision over all recalls; needs no threshold",
    multiclass_description="mean precision over all recalls, of each class against the rest, mean over the classes",
    undefined="the split has no {positive} {level}",
    rests_on=of_scored_classes("recall"),
    in_terminal=False,
)
PRECISION_AT_TARGET = Metric(
    "precision_at_target",
    "Precision at the target recall",
    precision_at_target,
    "precision at the highest threshold that reaches evaluation.target_recall",
    undefined="the split has no {positive} {level}",
    final=False,
    binary_only=True,
)
RECALL_AT_PRECISION = Metric(
    "recall_at_precision",
    "Recall at the target precision",
    recall_at_target,
    "highest recall of all thresholds that reach evaluation.target_precision",
    undefined="the split has no {positive} {level}",
    final=False,
    binary_only=True,
)
