"""Figures of a classifier from labels, probabilities and, for the intervals, patients.

With two classes, class 1 is the finding: it is called where its probability reaches the threshold. With more,
the most probable class is called, and recall, precision, F1 and the areas are means over the classes.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

INTERVALS = (
    "recall",
    "precision",
    "f1",
    "accuracy",
    "error",
    "balanced_accuracy",
    "roc_auc",
    "average_precision",
)


def predict_labels(probabilities: Floats, threshold: float | Floats | None = None) -> Ints:
    """The class that is called for each sample, from (n, classes) probabilities.

    The threshold, for two classes, is that of all samples or (n,) one for each.
    """
    if probabilities.shape[1] == 2 and threshold is not None:
        return (probabilities[:, 1] >= threshold).astype(np.int64)
    predicted: Ints = probabilities.argmax(axis=1).astype(np.int64)
    return predicted


def confusion_counts(labels: Ints, predicted: Ints, classes: int, weights: Ints | None = None) -> Ints:
    """Counts (truth, called). Counts of parts of the data add up to that of the whole."""
    counts = np.bincount(labels * classes + predicted, weights, minlength=classes * classes)
    return counts.reshape(classes, classes).astype(np.int64)


def metrics_from_counts(confusion: Ints) -> dict[str, float]:
    """Recall, precision and the like of a confusion matrix; NaN where a figure has no meaning."""
    right = np.diag(confusion).astype(float)
    truth, predicted = confusion.sum(axis=1), confusion.sum(axis=0)
    recalls, precisions = _ratio(right, truth), _ratio(right, predicted)
    f1s = _ratio(2 * right, truth + predicted)
    one = slice(1, 2) if len(confusion) == 2 else slice(None)
    accuracy = float(_ratio(right.sum(), confusion.sum()))
    return {
        "recall": float(recalls[one].mean()),
        "precision": float(precisions[one].mean()),
        "f1": float(f1s[one].mean()),
        "accuracy": accuracy,
        "error": 1 - accuracy,
        "balanced_accuracy": float(recalls.mean()),
    }


def roc_curve(labels: Ints, scores: Floats, weights: Floats | None = None) -> tuple[Floats, Floats, Floats]:
    """False positive rate, recall and threshold, from no call at all to everything called."""
    true, false, thresholds = _cumulated(labels, scores, weights)
    return (
        np.concatenate([[0.0], _ratio(false, false[-1:])]),
        np.concatenate([[0.0], _ratio(true, true[-1:])]),
        np.concatenate([[math.inf], thresholds]),
    )


def precision_recall_curve(
    labels: Ints, scores: Floats, weights: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """Precision, recall and threshold, from the highest threshold down."""
    true, false, thresholds = _cumulated(labels, scores, weights)
    return _ratio(true, true + false), _ratio(true, true[-1:]), thresholds


def roc_auc(labels: Ints, scores: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve by trapezoids; NaN where a class is missing."""
    false_rate, recall, _ = roc_curve(labels, scores, weights)
    return float(np.trapezoid(recall, false_rate))


def average_precision(labels: Ints, scores: Floats, weights: Floats | None = None) -> float:
    """Sum of precision times the gain in recall; NaN where there is no positive."""
    precision, recall, _ = precision_recall_curve(labels, scores, weights)
    gains = np.diff(recall, prepend=0.0)
    return float(np.sum(np.where(gains > 0, precision * gains, gains)))


def choose_threshold(labels: Ints, scores: Floats, target_recall: float) -> float:
    """The highest threshold whose recall is at least `target_recall`; NaN where there is no positive."""
    _, recall, thresholds = precision_recall_curve(labels, scores)
    enough = np.flatnonzero(recall >= target_recall - 1e-12)
    return float(thresholds[enough[0]]) if len(enough) else math.nan


def recall_at_precision(labels: Ints, scores: Floats, target_precision: float) -> float:
    """The highest recall of all thresholds whose precision is at least `target_precision`.

    0 where none reaches it, NaN where there is no positive.
    """
    precision, recall, _ = precision_recall_curve(labels, scores)
    return float(np.max(recall, where=precision >= target_precision - 1e-12, initial=0)) if labels.any() else math.nan


def compute_metrics(labels: Ints, probabilities: Floats, threshold: float | Floats | None) -> dict[str, Any]:
    """All figures of ``metrics.json`` for one split.

    Parameters
    ----------
    labels : ndarray of int, (n,)
    probabilities : ndarray, (n, classes)
    threshold : float or ndarray, (n,), optional
        Operating point, for two classes.
    """
    classes = probabilities.shape[1]
    confusion = confusion_counts(labels, predict_labels(probabilities, threshold), classes)
    return {
        **metrics_from_counts(confusion),
        **_areas(labels, probabilities, None),
        "confusion_matrix": confusion.tolist(),
        "samples": len(labels),
    }


def bootstrap_intervals(
    labels: Ints,
    probabilities: Floats,
    patients: NDArray[Any],
    threshold: float | Floats | None,
    repeats: int,
    seed: int,
) -> dict[str, tuple[float, float]]:
    """95 % intervals (percentiles) of figures, drawing patients with replacement.

    Patients are drawn, not samples: those of one patient are not independent of each other (Efron 1979).

    Returns
    -------
    dict
        Figure → (low, high); NaN where more than half of the draws have no value.
    """
    rng = np.random.default_rng(seed)
    names, member = np.unique(patients, return_inverse=True)
    predicted = predict_labels(probabilities, threshold)
    classes = probabilities.shape[1]
    draws: dict[str, list[float]] = {name: [] for name in INTERVALS}
    for _ in range(repeats):
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weights = times[member]
        values = metrics_from_counts(confusion_counts(labels, predicted, classes, weights))
        values |= _areas(labels, probabilities, weights.astype(float))
        for name in INTERVALS:
            draws[name].append(values[name])
    return {name: _percentiles(np.array(values)) for name, values in draws.items()}


def without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    """Figures that have no meaning become null, so that the JSON is JSON."""

    def plain(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [plain(each) for each in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: without_nan(value) if isinstance(value, Mapping) else plain(value) for key, value in values.items()}


def _areas(labels: Ints, probabilities: Floats, weights: Floats | None) -> dict[str, float]:
    classes = probabilities.shape[1]
    rest = [1] if classes == 2 else range(classes)
    truths = [((labels == label).astype(np.int64), probabilities[:, label]) for label in rest]
    return {
        "roc_auc": float(np.mean([roc_auc(*truth, weights) for truth in truths])),
        "average_precision": float(np.mean([average_precision(*truth, weights) for truth in truths])),
    }


def _cumulated(labels: Ints, scores: Floats, weights: Floats | None) -> tuple[Floats, Floats, Floats]:
    """True and false positives at each distinct score, from the highest down."""
    order = np.argsort(-scores, kind="stable")
    ranked, sorted_scores = labels[order], scores[order]
    amount = np.ones(len(labels)) if weights is None else weights[order]
    last = np.flatnonzero(np.append(np.diff(sorted_scores) != 0, True)) if len(scores) else np.array([], np.int64)
    true, false = np.cumsum(ranked * amount)[last], np.cumsum((1 - ranked) * amount)[last]
    return true, false, sorted_scores[last]


def _ratio(part: Any, whole: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(part, float) / np.asarray(whole, float)


def _percentiles(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) * 2 < len(values):
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)
