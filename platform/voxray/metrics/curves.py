"""Areas under and points on the ROC and the precision-recall curve of one class, weighted or not.

`Ranking` sorts the scores once, so that a bootstrap can weight the same samples a thousand times. Curves to draw are
those of scikit-learn, which also tests these.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Ranking:
    """Samples of one class against the rest, sorted by score from the highest down.

    Parameters
    ----------
    positive : ndarray of bool or int, (n,)
        Whether a sample is of the class.
    scores : ndarray, (n,)
    """

    def __init__(self, positive: NDArray[Any], scores: Floats) -> None:
        self.order = np.argsort(-scores, kind="stable")
        self.positive = np.asarray(positive, dtype=np.int64)[self.order]
        ranked = scores[self.order]
        # Of samples with equal scores only the last one is a point of a curve.
        self.last = np.flatnonzero(np.append(np.diff(ranked) != 0, True)) if len(scores) else np.array([], np.int64)
        self.thresholds: Floats = ranked[self.last]

    def counts(self, weights: Floats | None = None) -> tuple[Floats, Floats]:
        """True and false positives at each threshold, each (thresholds,); `weights` are in the samples' own order."""
        amounts = np.ones(len(self.order)) if weights is None else weights[self.order]
        true = np.cumsum(self.positive * amounts)[self.last]
        return true, np.cumsum(amounts)[self.last] - true


def area_under_roc(true: Floats, false: Floats) -> float:
    """Area by trapezoids from the counts of `Ranking.counts`; NaN if either class is missing."""
    recall = np.concatenate([[0.0], ratio(true, true[-1:])])
    return float(np.trapezoid(recall, np.concatenate([[0.0], ratio(false, false[-1:])])))


def area_under_precision_recall(true: Floats, false: Floats) -> float:
    """Sum of precision times the gain in recall; NaN if there is no positive."""
    gains = np.diff(ratio(true, true[-1:]), prepend=0.0)
    return float(np.sum(np.where(gains > 0, ratio(true, true + false) * gains, gains)))


def roc_auc(labels: Ints, scores: Floats, weights: Floats | None = None) -> float:
    """Area under the ROC curve of labels 0 and 1; NaN if either is missing."""
    return area_under_roc(*Ranking(labels, scores).counts(weights))


def average_precision(labels: Ints, scores: Floats, weights: Floats | None = None) -> float:
    """Average precision of labels 0 and 1; NaN if there is no positive."""
    return area_under_precision_recall(*Ranking(labels, scores).counts(weights))


def choose_threshold(ranking: Ranking, target_recall: float) -> float:
    """The highest threshold whose recall is at least `target_recall`; NaN if there is no positive."""
    true, _ = ranking.counts()
    reached = np.flatnonzero(ratio(true, true[-1:]) >= target_recall - 1e-12)
    return float(ranking.thresholds[reached[0]]) if len(reached) else math.nan


def recall_at_precision(ranking: Ranking, target_precision: float) -> float:
    """The highest recall of all thresholds whose precision is at least `target_precision`.

    0 if no threshold reaches it, NaN if there is no positive.
    """
    if not ranking.positive.any():
        return math.nan
    true, false = ranking.counts()
    reached = ratio(true, true + false) >= target_precision - 1e-12
    return float(np.max(ratio(true, true[-1:]), where=reached, initial=0))


def ratio(part: Any, whole: Any) -> Any:
    """Quotient as float64, NaN for 0 / 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(part, float) / np.asarray(whole, float)
