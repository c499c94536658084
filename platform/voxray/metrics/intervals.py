"""95 % confidence intervals that hold for few patients.

The variance of a metric comes from leaving out one patient after the other (the jackknife; Tukey 1958), because the
samples of one patient depend on each other. The interval of a metric between two bounds is Wilson's for a proportion of
as many independent samples as have this variance, with the quantile of Student's t. So it stays within the bounds, has
a width where the value is a bound, and is that of Wilson for one sample a patient. That of a metric without an upper
bound is a t interval on the logarithmic scale; a number of events of which none was seen has the exact one of Poisson.
``tools/coverage.py`` measures how often they hold the truth.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.classification import Samples
from voxray.metrics.compute import sample_metrics, weighted_means
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.proportions import CONFIDENCE, Interval, no_event_interval, score_interval
from voxray.metrics.registry import METRICS, find_metric
from voxray.metrics.support import MIN_PATIENTS

Key = TypeVar("Key", bound=Hashable)

# Patients are left out in groups where there are more; the standard error of 200 varies by 5 %.
MOST_GROUPS = 200
ROUNDING = 1e-12  # of values of the order of 1


def sample_intervals(samples: Samples, patients: NDArray[Any]) -> dict[str, Interval | None]:
    """Intervals of the metrics of a classifier.

    Parameters
    ----------
    samples : Samples
    patients : ndarray, (n,)
        The patient of each sample.

    Returns
    -------
    dict
        Metric → (low, high); None where it is undefined, or fewer than `MIN_PATIENTS` patients bear on it.
    """

    def values(some: Samples) -> dict[str, float]:
        return {name: value for name, value in sample_metrics(some).items() if METRICS[name].interval}

    def rests_on(some: Samples, name: str) -> Sequence[NDArray[np.bool_]]:
        return METRICS[name].rests_on(some)

    return left_out_intervals(samples, patients, values, rests_on, lambda name: METRICS[name].bounds)


def left_out_intervals(
    samples: Samples,
    patients: NDArray[Any],
    values: Callable[[Samples], Mapping[Key, float]],
    rests_on: Callable[[Samples, Key], Sequence[NDArray[np.bool_]]],
    bounds: Callable[[Key], tuple[float, float]] = lambda key: (0.0, 1.0),
) -> dict[Key, Interval | None]:
    """Intervals of any values that weighted samples have.

    Parameters
    ----------
    samples : Samples
    patients : ndarray, (n,)
    values : callable
        The values of samples by name, NaN where undefined.
    rests_on : callable
        The sets of samples that the value of a name needs, masks (n,).
    bounds : callable
        The least and the greatest value of a name.
    """
    names, member = np.unique(patients, return_inverse=True)
    weights = np.ones(len(member)) if samples.weights is None else samples.weights
    groups = _groups(len(names))[member]
    without = [
        values(replace(samples, weights=np.where(groups == group, 0.0, weights)))
        for group in range(groups.max(initial=-1) + 1)
    ]
    intervals, counted = {}, weights > 0
    for key, value in values(samples).items():
        counts = [int(np.count_nonzero(np.bincount(member[chosen & counted]))) for chosen in rests_on(samples, key)]
        # Means over the classes leave absent ones out.
        fewest = min(filter(None, counts), default=0)
        shifted = np.array([others[key] for others in without])
        intervals[key] = jackknife_interval(value, shifted, fewest, bounds(key), counted=True)
    return intervals


def scan_intervals(scans: Sequence[Mapping[str, float]], patients: Sequence[Any]) -> dict[str, Interval | None]:
    """Intervals of the means of `mean_metrics`, from the metrics and the patient of each scan.

    Returns
    -------
    dict
        Metric → (low, high); None where fewer than `MIN_PATIENTS` patients have a value, or all have the same one of a
        metric without an upper bound.
    """
    if not scans:
        return {}
    names, member = np.unique(np.array(patients), return_inverse=True)
    groups = _groups(len(names))[member]
    kept = np.arange(groups.max() + 1)[:, np.newaxis] != groups
    keys, means = weighted_means(scans, np.vstack([np.ones(len(scans)), kept]))
    intervals = {}
    for key, (value, *without) in zip(keys, means.T, strict=True):
        if find_metric(key).interval:
            columns = [name for name in scans[0] if name == key or name.startswith(f"{key}/")]
            defined = np.array([any(math.isfinite(scan[name]) for name in columns) for scan in scans])
            count = len(np.unique(member[defined]))
            ends = jackknife_interval(value, np.array(without), count, find_metric(key).bounds)
            intervals[key] = no_event_interval(count) if find_metric(key).counts_events and value == 0 else ends
    return intervals


def _groups(patients: int) -> Ints:
    """The group of each patient, drawn at random but the same each time."""
    groups: Ints = np.random.default_rng(0).permutation(patients) % MOST_GROUPS
    return groups


def jackknife_interval(
    value: float, without: Floats, patients: int, bounds: tuple[float, float], *, counted: bool = False
) -> Interval | None:
    """The interval of a value from those without each group of patients.

    Parameters
    ----------
    value : float
    without : ndarray, (groups,)
    patients : int
        That it rests on.
    bounds : tuple of float
        Least and greatest value; infinite where there is none.
    counted : bool
        Whether it counts samples that are right or wrong, several of a patient.
    """
    if patients < MIN_PATIENTS or not np.isfinite([value, *without]).all():
        return None
    from scipy.special import stdtrit

    quantile = float(stdtrit(min(patients, len(without)) - 1, (1 + CONFIDENCE) / 2))
    low, high = bounds
    scale = high - low if math.isfinite(high - low) else 1.0
    shifts = (without - value) / scale
    shifts[np.abs(shifts) < ROUNDING] = 0.0
    seen = _patients_seen(shifts)
    # With one more patient like those that caused it: the mean of few patients hides the tail of a skewed distribution.
    widening = (seen + 1) / seen if seen else 0.0
    variance = widening * (len(shifts) - 1) / len(shifts) * float(np.sum(shifts**2))
    if not math.isfinite(high - low):
        return _unbounded(value, quantile * math.sqrt(variance), low)
    share = min(1.0, max(0.0, (value - low) / scale))
    independent = share * (1 - share)
    if counted:
        # Errors of few patients do not show whether those of one patient come together: assume that they do.
        unknown = 1 / (1 + seen**2)
        variance = (1 - unknown) * variance + unknown * independent / patients
    size = independent / variance if variance > ROUNDING**2 else patients
    ends = score_interval(share, size, quantile)
    return low + scale * ends[0], low + scale * ends[1]


def _patients_seen(shifts: Floats) -> float:
    """As many patients of equal influence would show the variance as well; few where it comes from a few of them."""
    fourth = float(np.sum(shifts**4))
    return float(np.sum(shifts**2)) ** 2 / fourth if fourth else 0.0


def _unbounded(value: float, half: float, low: float) -> Interval | None:
    if not half:
        return None
    if math.isfinite(low) and value > low:
        factor = math.exp(half / (value - low))
        return low + (value - low) / factor, low + (value - low) * factor
    return value - half, value + half
