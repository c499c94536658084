"""Areas under and points on the ROC and the precision-recall curve of one class, weighted or not.

`Ranking` sorts the scores once, so that intervals can weight the same samples hundreds of times. Curves to draw are
those of scikit-learn, which also tests these.
"""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Counts = NDArray[Any]  # whole numbers, or sums of weights

# Scores that differ by less than this share cannot be told apart: written as float32 or as text they may change places.
RESOLUTION = 1e-6


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
        self.positive = np.asarray(positive, dtype=np.float64)[self.order]
        ranked = scores[self.order]
        # Of samples with equal scores only the last one is a point of a curve.
        last = np.append(np.diff(ranked) != 0, True)[: len(ranked)]
        self.points = slice(None) if last.all() else np.flatnonzero(last)
        self.thresholds: Floats = ranked[self.points]

    def counts(self, weights: Floats | None = None) -> tuple[Floats, Floats]:
        """True and false positives at each threshold, each (thresholds,); `weights` are in the samples' own order."""
        amounts = np.ones(len(self.order)) if weights is None else weights[self.order]
        # In place, because new memory costs as much as the sums.
        false = np.cumsum(amounts)
        true = np.cumsum(np.multiply(amounts, self.positive, out=amounts), out=amounts)
        false -= true
        return true[self.points], false[self.points]


def area_under_roc(true: Floats, false: Floats) -> float:
    """Area by trapezoids from the counts of `Ranking.counts`; NaN if either class is missing."""
    heights = true - np.diff(true, prepend=0.0) / 2
    return float(ratio(np.sum(np.diff(false, prepend=0.0) * heights), true[-1:].sum() * false[-1:].sum()))


def area_under_precision_recall(true: Floats, false: Floats) -> float:
    """Sum of precision times the gain in recall; NaN if there is no positive."""
    gains = np.diff(true, prepend=0.0)
    steps = np.flatnonzero(gains)
    precision = true[steps] / (true[steps] + false[steps])
    return float(ratio(np.sum(precision * gains[steps]), true[-1:].sum()))


def choose_threshold(ranking: Ranking, target_recall: float) -> float:
    """The highest threshold whose recall is at least `target_recall`; NaN if there is no positive.

    It lies midway between two scores (the lowest one with 0) that differ by more than rounding does, so that the same
    samples are positive if scores or threshold are rounded to float32 or written as text.
    """
    true, _ = ranking.counts()
    scores = ranking.thresholds
    below = np.append(scores[1:], 0.0)[: len(scores)]
    usable = (ratio(true, true[-1:]) >= target_recall - 1e-12) & (scores - below >= RESOLUTION * scores)
    chosen = np.flatnonzero(usable)[:1]
    return float((scores[chosen[0]] + below[chosen[0]]) / 2) if len(chosen) else math.nan


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
