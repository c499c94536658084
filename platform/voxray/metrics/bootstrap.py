"""95 % confidence intervals by a bootstrap over patients (Efron 1979).

Patients are drawn with replacement, not samples: the samples of one patient depend on each other.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import sample_metrics, weighted_means
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.registry import METRICS, find_metric

Interval = tuple[float, float]


def bootstrap_samples(
    labels: Ints,
    probabilities: Floats,
    patients: NDArray[Any],
    threshold: float | Floats | None,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Intervals of the metrics of a classifier.

    Returns
    -------
    dict
        Metric → (low, high); NaN if more than half of the resamples have no value.
    """
    samples = Samples(labels, probabilities, predict_labels(probabilities, threshold))
    rng = np.random.default_rng(seed)
    names, member = np.unique(patients, return_inverse=True)
    values: dict[str, list[float]] = {}
    for _ in range(resamples):
        # Each resample has its own counts; the sorted samples are shared.
        times = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
        weights = times[member].astype(float)
        for name, value in sample_metrics(replace(samples, weights=weights)).items():
            values.setdefault(name, []).append(value)
    return {name: _percentiles(np.array(draws)) for name, draws in values.items() if METRICS[name].interval}


def bootstrap_scans(
    scans: Sequence[Mapping[str, float]], patients: Sequence[Any], resamples: int, seed: int
) -> dict[str, Interval]:
    """Intervals of the means of `mean_metrics`.

    Returns
    -------
    dict
        Metric → (low, high); NaN if more than half of the resamples have no value.
    """
    if not scans:
        return {}
    names, member = np.unique(np.array(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(names), (resamples, len(names)))
    times = np.stack([np.bincount(draw, minlength=len(names)) for draw in drawn])
    keys, draws = weighted_means(scans, times[:, member].astype(float))
    return {key: _percentiles(values) for key, values in zip(keys, draws.T, strict=True) if find_metric(key).interval}


def _percentiles(values: Floats) -> Interval:
    defined = values[np.isfinite(values)]
    if not len(defined) or len(defined) * 2 < len(values):
        return math.nan, math.nan
    low, high = np.percentile(defined, [2.5, 97.5])
    return float(low), float(high)
