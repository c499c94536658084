"""Intensities made comparable: statistics of a whole scan, and batches standardized, clipped and scaled by them.

Batches are tensors (n, channel, x, y, z) on any device; the result is float32 and never shares memory with its input.
`valid` is true where a voxel belongs to the scan, with the shape (n, 1, x, y, z) or the batch's; voxels outside count
for nothing and become 0. Deviations are those of the whole population, as in numpy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

PERCENTILES = (0.5, 99.5)
STATISTICS = ("mean", "deviation", "nonzero_mean", "nonzero_deviation", "low", "high")
PLANE, VOLUME = (2, 3), (2, 3, 4)


@dataclass(frozen=True, eq=False)
class VolumeStatistics:
    """What a patch has to know about the scan it comes from; float64, an entry for each channel.

    Attributes
    ----------
    mean, deviation : ndarray, (channel,)
    nonzero_mean, nonzero_deviation : ndarray, (channel,)
        Of the voxels other than 0; both 0 where there are none.
    percentiles : ndarray, (channel, rank)
        Of all voxels, linear between neighbors, at the ranks that were asked for.
    """

    mean: NDArray[np.float64]
    deviation: NDArray[np.float64]
    nonzero_mean: NDArray[np.float64]
    nonzero_deviation: NDArray[np.float64]
    percentiles: NDArray[np.float64]


def volume_statistics(voxels: NDArray[Any], ranks: Sequence[float] = PERCENTILES) -> VolumeStatistics:
    """Statistics of a whole scan.

    Parameters
    ----------
    voxels : ndarray, (channel, x, y, z)
        Finite numbers.
    ranks : sequence of float
        Percentiles to find, from 0 to 100.
    """
    rows = []
    for channel in voxels:
        # In the memory's own order, so that nothing is copied.
        flat = channel.ravel(order="K")
        short = flat.dtype.kind in "iu" and flat.dtype.itemsize <= 2
        rows.append(_statistics_of_counts(flat, ranks) if short else _statistics_of_values(flat, ranks))
    columns = [np.stack(column) for column in zip(*rows, strict=True)]
    return VolumeStatistics(*columns)


def statistics_rows(statistics: VolumeStatistics) -> list[list[float]]:
    """Statistics with two percentiles as the store's index keeps them: for each of STATISTICS a number per channel."""
    low, high = statistics.percentiles.T
    columns = (
        statistics.mean,
        statistics.deviation,
        statistics.nonzero_mean,
        statistics.nonzero_deviation,
        low,
        high,
    )
    return [column.tolist() for column in columns]


def clip_voxels(voxels: NDArray[Any], windows: Sequence[Sequence[float]]) -> NDArray[Any]:
    """Voxels of a scan clipped to a window, in their own dtype.

    Parameters
    ----------
    voxels : ndarray, (channel, x, y, z)
    windows : sequence of (low, high)
        One for all channels, or one for each. For integers their ends are rounded inwards.
    """
    lows, highs = np.array(windows, np.float64).T
    if voxels.dtype.kind in "iu":
        limits = np.iinfo(voxels.dtype)
        lows, highs = (np.clip(ends, limits.min, limits.max) for ends in (np.ceil(lows), np.floor(highs)))
    ends = [each.astype(voxels.dtype).reshape(-1, 1, 1, 1) for each in (lows, highs)]
    clipped: NDArray[Any] = np.clip(voxels, *ends)
    return clipped


def standardize_planes(images: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Zero mean and unit deviation in each channel and z plane; a constant plane becomes 0 (S3 of the seeds)."""
    return _standardized(images, valid, PLANE)


def standardize_volume(images: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Zero mean and unit deviation in each channel of each image; a constant one becomes 0."""
    return _standardized(images, valid, VOLUME)


def standardize_nonzero(images: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """The same among the voxels other than 0 of each channel; those that are 0 stay 0."""
    inside = images != 0
    return _standardized(images, inside if valid is None else inside & valid, VOLUME)


def standardize_by(
    images: torch.Tensor,
    mean: torch.Tensor,
    deviation: torch.Tensor,
    valid: torch.Tensor | None = None,
    keep_zero: bool = False,
) -> torch.Tensor:
    """Standardize patches by statistics of the scans that they come from.

    Parameters
    ----------
    images : Tensor, (n, channel, x, y, z)
    mean, deviation : Tensor, (n, channel)
        A deviation of 0 makes its channel 0.
    valid : Tensor of bool, optional
    keep_zero : bool
        Whether voxels that are 0 stay 0, for statistics of the others.
    """
    inside = (images != 0) if keep_zero else None
    inside = valid if inside is None else inside if valid is None else inside & valid
    scale = torch.where(deviation > 0, 1 / deviation, torch.zeros_like(deviation))
    result = (images.to(torch.float32) - _per_channel(mean, images)).mul_(_per_channel(scale, images))
    return result if inside is None else result.masked_fill_(~inside, 0)


def clip_percentiles(images: torch.Tensor, low: float, high: float, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Clip each channel of each image to two of its own percentiles and scale it to [0, 1].

    Parameters
    ----------
    images : Tensor, (n, channel, x, y, z)
    low, high : float
        Percentiles from 0 to 100, linear between neighbors as in numpy.
    valid : Tensor of bool, optional
    """
    flat = images.to(torch.float32).flatten(2)
    number = torch.full(flat.shape[:2], flat.shape[2], device=flat.device)
    if valid is not None:
        mask = valid.expand_as(images).flatten(2)
        flat, number = flat.masked_fill(~mask, torch.inf), mask.sum(2)
    # torch.quantile refuses more than 16 million numbers, which is less than a chest has.
    ordered = flat.sort(2).values
    return clip_between(images, _at_rank(ordered, number, low), _at_rank(ordered, number, high), valid)


def clip_between(
    images: torch.Tensor, low: torch.Tensor, high: torch.Tensor, valid: torch.Tensor | None = None
) -> torch.Tensor:
    """Clip each channel to given bounds and scale it to [0, 1]; where the two are equal, it becomes 0.

    Parameters
    ----------
    images : Tensor, (n, channel, x, y, z)
    low, high : Tensor, (n, channel)
        For example percentiles of the scans that the patches come from.
    valid : Tensor of bool, optional
    """
    width = high - low
    scale = torch.where(width > 0, 1 / width, torch.zeros_like(width))
    result = (images.to(torch.float32) - _per_channel(low, images)).mul_(_per_channel(scale, images)).clamp_(0, 1)
    return result if valid is None else result.masked_fill_(~valid, 0)


def _standardized(images: torch.Tensor, inside: torch.Tensor | None, dims: tuple[int, ...]) -> torch.Tensor:
    values = images.to(torch.float32)
    if inside is None:
        # The distance from the largest value is exactly 0 in a constant plane, whatever the mean would be rounded to.
        values = values - values.amax(dims, keepdim=True)
        number = torch.tensor(float(np.prod([values.shape[dim] for dim in dims])), device=values.device)
    else:
        largest = values.masked_fill(~inside, -torch.inf).amax(dims, keepdim=True)
        values = (values - largest).masked_fill_(~inside, 0)
        number = inside.expand_as(values).sum(dims, keepdim=True).clamp_(min=1)
    values.sub_(values.sum(dims, keepdim=True) / number)
    if inside is not None:
        values.masked_fill_(~inside, 0)
    deviation = (values.square().sum(dims, keepdim=True) / number).sqrt_()
    return values.mul_(torch.where(deviation > 0, 1 / deviation, torch.zeros_like(deviation)))


def _per_channel(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return values.to(images.device, torch.float32)[:, :, None, None, None]


def _at_rank(ordered: torch.Tensor, number: torch.Tensor, rank: float) -> torch.Tensor:
    """Percentile of the first `number` of ordered values, (n, channel, values) → (n, channel)."""
    place = (number - 1).clamp(min=0).to(torch.float64) * (rank / 100)
    below = place.floor().to(torch.int64)
    above = torch.minimum(below + 1, (number - 1).clamp(min=0))
    share = (place - below).to(torch.float32)
    first, second = (ordered.gather(2, index[..., None])[..., 0] for index in (below, above))
    return first + share * (second - first)


def _statistics_of_values(flat: NDArray[Any], ranks: Sequence[float]) -> tuple[Any, ...]:
    """Mean, deviation, the same of what is not 0, and percentiles."""
    some = flat[flat != 0]
    moments = [
        (np.mean(part, dtype=np.float64), np.std(part, dtype=np.float64)) if part.size else (0.0, 0.0)
        for part in (flat, some)
    ]
    return (*moments[0], *moments[1], np.percentile(flat, ranks).astype(np.float64))


def _statistics_of_counts(flat: NDArray[Any], ranks: Sequence[float]) -> tuple[Any, ...]:
    """The same, exactly, for integers of 16 bits or fewer: counting them is ten times faster than ordering them."""
    low = int(flat.min())
    every = np.bincount((flat.astype(np.int32) - low).view(np.uint32))
    found = np.flatnonzero(every)
    values, counts = (found + low).astype(np.float64), every[found]
    some = values != 0
    percentiles = _percentiles_of_counts(values, counts, ranks)
    return (*_moments(values, counts), *_moments(values[some], counts[some]), percentiles)


def _moments(values: NDArray[np.float64], counts: NDArray[np.int64]) -> tuple[float, float]:
    total = int(counts.sum())
    if total == 0:
        return 0.0, 0.0
    mean = float(values @ counts) / total
    return mean, float(np.sqrt(np.square(values - mean) @ counts / total))


def _percentiles_of_counts(
    values: NDArray[np.float64], counts: NDArray[np.int64], ranks: Sequence[float]
) -> NDArray[np.float64]:
    """Percentiles of ascending values that occur so many times each."""
    ends = np.cumsum(counts)
    places = (ends[-1] - 1) * np.asarray(ranks, np.float64) / 100
    below = np.floor(places)
    first, second = (
        values[np.searchsorted(ends, np.minimum(place, ends[-1] - 1), side="right")] for place in (below, below + 1)
    )
    result: NDArray[np.float64] = first + (places - below) * (second - first)
    return result
