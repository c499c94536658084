"""The reliability diagram of a classifier, and the expected calibration error: how far it is from its diagonal."""

import math

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.curves import Floats, Ints
from voxray.metrics.metric import Metric
from voxray.metrics.proportions import patients_interval
from voxray.metrics.support import MIN_PATIENTS

BINS = 10
RESAMPLES = 1000


def calibration_bins(
    labels: Ints, probabilities: Floats, weights: Floats | None = None
) -> tuple[Floats, Floats, Floats]:
    """The points of a reliability diagram: mean prediction, observed share and size of each nonempty bin of ten.

    Parameters
    ----------
    labels : ndarray of int, (n,)
    probabilities : ndarray, (n, classes)
        Of two classes that of class 1 is compared with its share; of more, that of the predicted class with how often
        it is right.
    weights : ndarray, (n,), optional
        How often each sample counts.
    """
    predicted, outcomes = _predictions_and_outcomes(labels, probabilities)
    bins, amounts = _bins(predicted), np.ones(len(labels)) if weights is None else weights
    sizes: Floats = np.bincount(bins, amounts, BINS).astype(np.float64)
    used = sizes > 0
    means = [np.bincount(bins, values * amounts, BINS)[used] / sizes[used] for values in (predicted, outcomes)]
    return means[0], means[1], sizes[used]


def calibration_error(labels: Ints, probabilities: Floats, weights: Floats | None = None) -> float:
    """Mean distance of the points of `calibration_bins` from the diagonal, by size.

    NaN without samples that count, or where a probability is NaN.
    """
    if not np.isfinite(probabilities).all():
        return math.nan
    predicted, observed, sizes = calibration_bins(labels, probabilities, weights)
    return float(sizes @ np.abs(predicted - observed) / sizes.sum()) if len(sizes) else math.nan


def calibration_error_interval(
    labels: Ints,
    probabilities: Floats,
    patients: NDArray[np.str_],
    weights: Floats | None = None,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """95 % confidence interval of `calibration_error`, from resampled patients; None for fewer than five that count.

    The error is the length of a vector, the gaps of the bins. A resample is as far from the data as the data are from
    the truth, so the lengths differ by no more than the length of the difference. Percentiles of the resampled errors
    themselves would lie too high: noise adds to each gap, in whichever direction.
    """
    amounts = np.ones(len(labels)) if weights is None else weights
    counted = amounts > 0
    labels, probabilities, patients = labels[counted], probabilities[counted], patients[counted]
    amounts = amounts[counted]
    names, member = np.unique(patients, return_inverse=True)
    if len(names) < MIN_PATIENTS or not np.isfinite(probabilities).all():
        return None
    from scipy.special import stdtrit

    predicted, outcomes = _predictions_and_outcomes(labels, probabilities)
    cells = np.bincount(member * BINS + _bins(predicted), amounts * (predicted - outcomes), len(names) * BINS)
    sums = np.column_stack([cells.reshape(len(names), BINS), np.bincount(member, amounts)])
    totals, rng = sums.sum(axis=0), np.random.default_rng(0)
    gaps, distances = totals[:-1] / totals[-1], np.empty(resamples)
    for number in range(resamples):
        drawn = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names)) @ sums
        distances[number] = np.abs(drawn[:-1] / drawn[-1] - gaps).sum()
    freedom = len(names) - 1
    few = math.sqrt(len(names) / freedom) * float(stdtrit(freedom, 0.975) / stdtrit(1e9, 0.975))
    margin, error = few * float(np.percentile(distances, 95)), float(np.abs(gaps).sum())
    # Patients that are all alike show no distance, as a share of 0 shows no variance.
    margin = margin or patients_interval(0.0, len(names))[1]
    return max(0.0, error - margin), min(1.0, error + margin)


def _predictions_and_outcomes(labels: Ints, probabilities: Floats) -> tuple[Floats, Floats]:
    """The probability of class 1 of two and whether it is true; of more, that of the predicted class."""
    if probabilities.shape[1] == 2:
        return probabilities[:, 1], (labels == 1).astype(np.float64)
    return probabilities.max(axis=1, initial=0), (probabilities.argmax(axis=1) == labels).astype(np.float64)


def _bins(predicted: Floats) -> Ints:
    return np.minimum((predicted * BINS).astype(np.int64), BINS - 1)


ECE = Metric(
    "ece",
    "Expected calibration error",
    None,
    "mean distance between the predicted probability of {positive} and the share that is {positive}, in ten bins, "
    "for the own mix of classes of the data set's list",
    multiclass_description="mean distance between the probability of the predicted class and the share that is right, "
    "in ten bins, for the own mix of classes of the data set's list",
    undefined="the split has no {level}",
    higher_is_better=False,
    per_epoch=False,
    in_terminal=False,
)
