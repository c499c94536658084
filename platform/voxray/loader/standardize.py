"""Batches standardized, clipped and scaled on the model's device.

Batches are tensors (n, channel, x, y, z); the result is float32 and never shares memory with its input. `valid` is true
where a voxel belongs to the scan, with the shape (n, 1, x, y, z) or the batch's; voxels outside are not counted and
become 0. Deviations are those of the whole population, as in NumPy.
"""

import torch

IN_PLANE = (2, 3)


def standardize_planes(images: torch.Tensor, valid: torch.Tensor | None = None) -> torch.Tensor:
    """Zero mean and unit deviation in each channel and z plane; a constant plane becomes 0."""
    values = images.to(torch.float32)
    if valid is None:
        # The distance from the largest value is exactly 0 in a constant plane, however the mean would be rounded.
        values = values - values.amax(IN_PLANE, keepdim=True)
        number = torch.tensor(float(values.shape[2] * values.shape[3]), device=values.device)
    else:
        largest = values.masked_fill(~valid, -torch.inf).amax(IN_PLANE, keepdim=True)
        values = (values - largest).masked_fill_(~valid, 0)
        number = valid.expand_as(values).sum(IN_PLANE, keepdim=True).clamp_(min=1)
    values.sub_(values.sum(IN_PLANE, keepdim=True) / number)
    if valid is not None:
        values.masked_fill_(~valid, 0)
    deviation = (values.square().sum(IN_PLANE, keepdim=True) / number).sqrt_()
    return values.mul_(_inverse(deviation))


def standardize_by(
    images: torch.Tensor,
    mean: torch.Tensor,
    deviation: torch.Tensor,
    valid: torch.Tensor | None = None,
    keep_zero: bool = False,
) -> torch.Tensor:
    """Standardize patches by statistics of their scans.

    Parameters
    ----------
    images : Tensor, (n, channel, x, y, z)
    mean, deviation : Tensor, (n, channel)
        A deviation of 0 makes its channel 0.
    valid : Tensor of bool, optional
    keep_zero : bool
        Whether voxels that are 0 stay 0, for statistics of the others.
    """
    inside = valid
    if keep_zero:
        inside = images != 0 if valid is None else (images != 0) & valid
    result = (images.to(torch.float32) - _per_channel(mean, images)).mul_(_per_channel(_inverse(deviation), images))
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
    # torch.quantile is limited to 16 million values, fewer than a chest CT has.
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
    scale = _per_channel(_inverse(high - low), images)
    result = (images.to(torch.float32) - _per_channel(low, images)).mul_(scale).clamp_(0, 1)
    return result if valid is None else result.masked_fill_(~valid, 0)


def _inverse(values: torch.Tensor) -> torch.Tensor:
    """1 / values, and 0 where they are 0."""
    return torch.where(values > 0, 1 / values, torch.zeros_like(values))


def _per_channel(values: torch.Tensor, images: torch.Tensor) -> torch.Tensor:
    return values.to(images.device, torch.float32)[:, :, None, None, None]


def _at_rank(ordered: torch.Tensor, number: torch.Tensor, rank: float) -> torch.Tensor:
    """Percentile of the first `number` of ordered values, (n, channel, values) → (n, channel)."""
    last = (number - 1).clamp(min=0)
    index = last.to(torch.float64) * (rank / 100)
    below = index.floor().to(torch.int64)
    share = (index - below).to(torch.float32)
    first, second = (ordered.gather(2, at[..., None])[..., 0] for at in (below, torch.minimum(below + 1, last)))
    return first + share * (second - first)
