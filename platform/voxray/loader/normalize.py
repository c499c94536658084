"""Normalization of batches on the model's device: a scan's own intensities to the network's."""

from collections.abc import Sequence

import torch

from voxray.config.preprocessing import IntensitySpec
from voxray.loader.standardize import clip_between, standardize_by, standardize_planes


def scale_window(images: torch.Tensor, windows: Sequence[Sequence[float]]) -> torch.Tensor:
    """Clip to a window and scale it to [0, 1].

    Parameters
    ----------
    images : Tensor of any real dtype, (n, channel, …)
    windows : sequence of (low, high)
        In the scan's own intensities: one for all channels, or one for each.

    Returns
    -------
    Tensor of float32
    """
    # One window for all channels stays a pair of numbers: no tensor is copied to the device.
    if len(windows) == 1:
        low, high = windows[0]
        return images.to(torch.float32).clamp_(low, high).sub_(low).div_(high - low)
    ends = torch.tensor(windows, dtype=torch.float32, device=images.device).T
    lows, highs = ends.view(2, 1, -1, *(1,) * (images.ndim - 2))
    return images.to(torch.float32).clamp_(lows, highs).sub_(lows).div_(highs - lows)


def scale_images(
    images: torch.Tensor, spec: IntensitySpec, statistics: torch.Tensor | None, valid: torch.Tensor | None
) -> torch.Tensor:
    """Normalize a batch by the experiment's settings.

    Parameters
    ----------
    images : Tensor, (n, channel, x, y, z)
        In the scans' own intensities.
    spec : IntensitySpec
    statistics : Tensor, (n, 6, channel), optional
        Of the whole scans, in the order of `voxray.scans.intensity.STATISTICS`; a window needs none.
    valid : Tensor of bool, (n, 1, x, y, z), optional
        False where a patch is padding; padding becomes 0, but keeps its value with a window.

    Returns
    -------
    Tensor of float32
    """
    if spec.kind == "window":
        return scale_window(images, spec.windows)
    if spec.kind == "zscore_slice":
        return standardize_planes(images, valid)
    if statistics is None:
        raise ValueError(f"intensity '{spec.kind}' needs the scans' statistics")
    mean, deviation, nonzero_mean, nonzero_deviation, low, high = statistics.to(images.device).float().unbind(1)
    if spec.kind == "percentiles":
        return clip_between(images, low, high, valid)
    if spec.kind == "zscore_nonzero":
        return standardize_by(images, nonzero_mean, nonzero_deviation, valid, keep_zero=True)
    return standardize_by(images, mean, deviation, valid)


def valid_voxels(inside: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """True where a voxel of a patch lies inside its scan, (n, 1, x, y, z).

    Parameters
    ----------
    inside : Tensor of int64, (n, 2, 3)
        First voxel and end, x, y, z.
    size : (x, y, z)
    """
    valid = torch.ones((len(inside), 1, *size), dtype=torch.bool, device=inside.device)
    for axis, length in enumerate(size):
        index = torch.arange(length, device=inside.device)
        within = (index >= inside[:, 0, axis, None]) & (index < inside[:, 1, axis, None])
        shape = [len(inside), 1, 1, 1, 1]
        shape[2 + axis] = length
        valid &= within.view(shape)
    return valid
