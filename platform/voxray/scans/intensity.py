"""Statistics of a scan's intensities, and clipping to a window in the scan's own type."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

PERCENTILES = (0.5, 99.5)
STATISTICS = ("mean", "deviation", "nonzero_mean", "nonzero_deviation", "low", "high")


@dataclass(frozen=True, eq=False)
class VolumeStatistics:
    """Statistics of a whole scan that its patches are normalized by; float64, one entry for each channel.

    Attributes
    ----------
    mean, deviation : ndarray, (channel,)
    nonzero_mean, nonzero_deviation : ndarray, (channel,)
        Of the voxels other than 0; both 0 where there are none.
    percentiles : ndarray, (channel, rank)
        Of all voxels, linear between neighbors, at the given ranks.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    nonzero_mean: NDArray[np.float64]
    nonzero_deviation: NDArray[np.float64]
    percentiles: NDArray[np.float64]


def volume_statistics(voxels: NDArray[Any], ranks: Sequence[float] = PERCENTILES) -> VolumeStatistics:
    """Statistics of a whole scan of finite voxels (channel, x, y, z); `ranks` are percentiles, from 0 to 100."""
    rows = []
    for channel in voxels:
        # In memory order, so that nothing is copied.
        flat = channel.ravel(order="K")
        short = flat.dtype.kind in "iu" and flat.dtype.itemsize <= 2
        rows.append(_statistics_of_counts(flat, ranks) if short else _statistics_of_values(flat, ranks))
    return VolumeStatistics(*map(np.stack, zip(*rows, strict=True)))


def statistics_rows(statistics: VolumeStatistics) -> list[list[float]]:
    """Statistics with two percentiles as the store's index keeps them: for each of STATISTICS a number per channel."""
    low, high = statistics.percentiles.T
    moments = (statistics.mean, statistics.deviation, statistics.nonzero_mean, statistics.nonzero_deviation)
    return [column.tolist() for column in (*moments, low, high)]


def clip_voxels(voxels: NDArray[Any], windows: Sequence[Sequence[float]]) -> NDArray[Any]:
    """Voxels (channel, x, y, z) clipped to one window for all channels or one for each, in their own dtype.

    For integers the ends of a window are rounded inwards.
    """
    lows, highs = np.array(windows, np.float64).T
    if voxels.dtype.kind in "iu":
        limits = np.iinfo(voxels.dtype)
        lows, highs = (np.clip(ends, limits.min, limits.max) for ends in (np.ceil(lows), np.floor(highs)))
    low, high = (ends.astype(voxels.dtype).reshape(-1, 1, 1, 1) for ends in (lows, highs))
    clipped: NDArray[Any] = np.clip(voxels, low, high)
    return clipped


def _statistics_of_values(flat: NDArray[Any], ranks: Sequence[float]) -> tuple[Any, ...]:
    """Mean, deviation, the same of nonzero values, and percentiles."""
    (mean, deviation), nonzero = [
        (np.mean(part, dtype=np.float64), np.std(part, dtype=np.float64)) if part.size else (0.0, 0.0)
        for part in (flat, flat[flat != 0])
    ]
    return (mean, deviation, *nonzero, np.percentile(flat, ranks).astype(np.float64))


def _statistics_of_counts(flat: NDArray[Any], ranks: Sequence[float]) -> tuple[Any, ...]:
    """The same, exactly, for integers of 16 bits or fewer: counting is ten times faster than sorting."""
    low = int(flat.min())
    histogram = np.bincount((flat.astype(np.int32) - low).view(np.uint32))
    occurring = np.flatnonzero(histogram)
    values, counts = (occurring + low).astype(np.float64), histogram[occurring]
    nonzero = values != 0
    percentiles = _percentiles_of_counts(values, counts, ranks)
    return (*_moments(values, counts), *_moments(values[nonzero], counts[nonzero]), percentiles)


def _moments(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    total = int(counts.sum())
    if total == 0:
        return 0.0, 0.0
    mean = float(values @ counts) / total
    return mean, float(np.sqrt(np.square(values - mean) @ counts / total))


def _percentiles_of_counts(
    values: NDArray[np.float64], counts: NDArray[np.int64], ranks: Sequence[float]
) -> NDArray[np.float64]:
    """Percentiles of ascending values with their counts."""
    ends = np.cumsum(counts)
    indices = (ends[-1] - 1) * np.asarray(ranks, np.float64) / 100
    below = np.floor(indices)
    first, second = (
        values[np.searchsorted(ends, np.minimum(index, ends[-1] - 1), side="right")] for index in (below, below + 1)
    )
    result: NDArray[np.float64] = first + (indices - below) * (second - first)
    return result
