"""Augmentation of a batch on the model's device: stored rotations, and random changes during training.

Random changes are drawn on the CPU for the whole global batch, so that a patch is changed in the same way on every
rank.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from voxray.config.preprocessing import AugmentSpec

AXES = ("x", "y", "z")
COARSEST = 0.5  # share of the voxels along an axis that a patch of low resolution has at least
KNOTS = 5  # of elastic deformations along each axis


def rotate_stored(images: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Rotate each patch in plane (from x towards y) by its multiple of 90 degrees; exact.

    Parameters
    ----------
    images : Tensor, (n, channel, x, y, z)
    rotations : Tensor of int64, (n,)
        0, 90, 180 or 270 degrees, on the same device or the CPU.
    """
    for degrees in (90, 180, 270):
        chosen = torch.nonzero(rotations == degrees).flatten().to(images.device)
        if len(chosen):
            images[chosen] = torch.rot90(images[chosen], degrees // 90, (2, 3))
    return images


@dataclass(frozen=True, eq=False)
class Changes:
    """Random changes of some patches of a batch.

    Attributes
    ----------
    flips : Tensor of bool, (n, 3)
    turns : Tensor of int64, (n,)
        Degrees, multiples of 90.
    affine : Tensor, (n, d, d + 1), optional
        In the normalized coordinates of `torch.nn.functional.affine_grid`; d is 2 in plane and 3 in space.
    displacement : Tensor, (n, d, KNOTS, KNOTS[, KNOTS]), optional
        In normalized coordinates, at the knots of a coarse grid.
    gain, offset, gamma, noise, blur : Tensor, (n,)
        Of the normalized intensity; noise is a standard deviation, blur the one of a Gaussian in voxels.
    inverted : Tensor of bool, (n,)
        Whether gamma acts on inverted intensities.
    coarse : Tensor of int64, (n, 3)
        Voxels along each axis to which a patch is reduced before it is enlarged again.
    blur_reach : int
        Radius of the blur's kernel in voxels.
    seeds : list of int, (n,)
        For the noise of each patch.
    """

    flips: torch.Tensor
    turns: torch.Tensor
    affine: torch.Tensor | None
    displacement: torch.Tensor | None
    gain: torch.Tensor
    offset: torch.Tensor
    gamma: torch.Tensor
    noise: torch.Tensor
    blur: torch.Tensor
    inverted: torch.Tensor
    coarse: torch.Tensor
    blur_reach: int
    seeds: list[int]


def draw_changes(
    spec: AugmentSpec, key: Sequence[int], total: int, positions: NDArray[np.int64], size: tuple[int, int, int]
) -> Changes:
    """Draw the changes of a global batch and return those at `positions`.

    Parameters
    ----------
    spec : AugmentSpec
    key : sequence of int
        Seed, epoch and step.
    total : int
        Patches of the global batch.
    positions : ndarray of int, (n,)
    size : (x, y, z)
    """
    rng = np.random.default_rng(list(key))
    # Each kind of change has its own columns, used or not, so that switching one leaves the others as they are.
    draws = np.hstack([rng.random((total, 10)), rng.random((total, 4))])[positions]
    both = 2 * draws - 1
    d = spec.dimensions
    bends = rng.uniform(-1, 1, (total, d, *(KNOTS,) * d))[positions] if spec.elastic_voxels else None
    # Draws that only three dimensions need come last; those that were added later have a generator of their own.
    added = np.random.default_rng([*key, 1]).random((total, 3))[positions]
    tilts = rng.uniform(-1, 1, (total, 3))[positions] if d == 3 else np.zeros((len(positions), 3))
    moves = spec.rotate_range or spec.rotate_choices or spec.scale or spec.shift_voxels or spec.elastic_voxels
    # Coordinates are normalized to [-1, 1] over an axis; the first is that of the last axis.
    per_voxel = 2 * spec.elastic_voxels / np.array(size[:d][::-1]).reshape(1, d, *(1,) * d)
    return Changes(
        flips=torch.from_numpy((draws[:, :3] < 0.5) & [axis in spec.flip for axis in AXES]),
        turns=torch.from_numpy(90 * np.floor(4 * draws[:, 3]).astype(np.int64) * spec.rotate90),
        affine=_affine(spec, both, tilts, size) if moves else None,
        displacement=None if bends is None else torch.from_numpy(bends * per_voxel).float(),
        gain=torch.from_numpy(1 + spec.contrast * both[:, 7]).float(),
        offset=torch.from_numpy(spec.brightness * both[:, 8]).float(),
        gamma=torch.from_numpy(np.exp(both[:, 10] * -np.log1p(-spec.gamma))).float(),
        noise=torch.from_numpy(spec.noise * draws[:, 11]).float(),
        blur=torch.from_numpy(spec.blur_voxels * draws[:, 12]).float(),
        inverted=torch.from_numpy(added[:, 0] < spec.gamma_inverted),
        coarse=torch.from_numpy(_coarse_sizes(spec, added, size)),
        blur_reach=min(int(np.ceil(3 * spec.blur_voxels)), size[0] - 1, size[1] - 1),
        seeds=(draws[:, 13] * 2**53).astype(np.int64).tolist(),
    )


def change_batch(
    images: torch.Tensor, masks: torch.Tensor | None, changes: Changes, bounded: bool
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Apply random changes; masks follow the geometric ones, at the nearest voxel.

    Parameters
    ----------
    images : Tensor of float32, (n, channel, x, y, z)
        Normalized.
    masks : Tensor, (n, m, x, y, z), optional
        Label maps and the like, of any dtype.
    changes : Changes
    bounded : bool
        Whether intensities stay in [0, 1].

    Returns
    -------
    Tensor, Tensor
        Like the arguments; voxels from outside a patch repeat its border.
    """
    images = _flip_and_rotate(images, changes)
    masks = None if masks is None else _flip_and_rotate(masks, changes)
    if changes.affine is not None:
        grid = _grid(images, changes.affine, changes.displacement)
        images = _sample(images, grid, "bilinear")
        masks = None if masks is None else _sample(masks.float(), grid, "nearest").round_().to(masks.dtype)
    return _change_intensity(images, changes, bounded), masks


def _coarse_sizes(spec: AugmentSpec, draws: NDArray[np.float64], size: tuple[int, int, int]) -> NDArray[np.int64]:
    """Voxels of each patch at its low resolution, (n, 3); slices stay where changes act in the plane."""
    zoom = np.where(draws[:, 1] < spec.low_resolution, COARSEST + (1 - COARSEST) * draws[:, 2], 1.0)
    sizes: NDArray[np.int64] = np.rint(np.outer(zoom, size)).clip(1).astype(np.int64)
    sizes[:, spec.dimensions :] = size[spec.dimensions :]
    return sizes


def _flip_and_rotate(maps: torch.Tensor, changes: Changes) -> torch.Tensor:
    """Flips and rotations by multiples of 90 degrees: exact."""
    for axis in range(3):
        chosen = torch.nonzero(changes.flips[:, axis]).flatten().to(maps.device)
        if len(chosen):
            maps[chosen] = maps[chosen].flip(2 + axis)
    return rotate_stored(maps, changes.turns)


def _grid(images: torch.Tensor, affine: torch.Tensor, displacement: torch.Tensor | None) -> torch.Tensor:
    """Sampling position of each voxel, (n, x, y, 2) in plane or (n, x, y, z, 3) in space."""
    d = affine.shape[1]
    sizes = list(images.shape[2 : 2 + d])
    grid = F.affine_grid(affine.to(images.device), [len(images), 1, *sizes], align_corners=False)
    if displacement is None:
        return grid
    knots = displacement.to(images.device)
    mode = "bicubic" if d == 2 else "trilinear"
    return grid + F.interpolate(knots, sizes, mode=mode, align_corners=True).movedim(1, -1)


def _sample(maps: torch.Tensor, grid: torch.Tensor, mode: str) -> torch.Tensor:
    if grid.shape[-1] == 3:
        return F.grid_sample(maps, grid, mode=mode, padding_mode="border", align_corners=False)
    n, c, x, y, z = maps.shape
    planes = maps.permute(0, 1, 4, 2, 3).reshape(n, c * z, x, y)
    moved = F.grid_sample(planes, grid, mode=mode, padding_mode="border", align_corners=False)
    return moved.reshape(n, c, z, x, y).permute(0, 1, 3, 4, 2)


def _affine(
    spec: AugmentSpec, both: NDArray[np.float64], tilts: NDArray[np.float64], size: tuple[int, int, int]
) -> torch.Tensor:
    """Maps from an output voxel to its source, (n, d, d + 1)."""
    angle, pitch, roll = np.radians(spec.rotate_range * np.stack([both[:, 4], tilts[:, 0], tilts[:, 1]]))
    if spec.rotate_choices:
        number = (both[:, 4] + 1) / 2 * len(spec.rotate_choices)
        angle = np.radians(np.array(spec.rotate_choices)[number.astype(np.int64)])
    zoom = 1 / (1 + spec.scale * both[:, 5])
    # One draw gives the length of the shift in plane, another its direction.
    reach, turn = spec.shift_voxels * both[:, 6], np.pi * both[:, 9]
    shift = np.stack([reach * np.sin(turn), reach * np.cos(turn), spec.shift_voxels * tilts[:, 2]], 1)
    turned = _turn(angle, 1, 0) @ _turn(pitch, 2, 1) @ _turn(roll, 0, 2)
    d, extent = spec.dimensions, np.array(size, float)
    # In normalized coordinates an axis is 2 long, whatever its voxels; there they run from the last axis to the first.
    linear = zoom[:, None, None] * turned * extent / extent[:, None]
    rows = np.concatenate([linear[:, :d, :d][:, ::-1, ::-1], (2 * shift / extent)[:, :d, None][:, ::-1]], 2)
    return torch.from_numpy(rows.copy()).float()


def _turn(angle: NDArray[np.float64], axis: int, other: int) -> NDArray[np.float64]:
    """Rotations from `axis` towards `other`, (n, 3, 3)."""
    matrices = np.tile(np.eye(3), (len(angle), 1, 1))
    matrices[:, axis, axis] = matrices[:, other, other] = np.cos(angle)
    matrices[:, other, axis], matrices[:, axis, other] = np.sin(angle), -np.sin(angle)
    return matrices


def _change_intensity(images: torch.Tensor, changes: Changes, bounded: bool) -> torch.Tensor:
    device, shape = images.device, (-1, 1, 1, 1, 1)
    if changes.blur.any():
        images = _blurred(images, changes.blur.to(device), changes.blur_reach)
    images = _reduced(images, changes.coarse)
    if (changes.gamma != 1).any():
        low, high = images.amin((2, 3, 4), keepdim=True), images.amax((2, 3, 4), keepdim=True)
        width = (high - low).clamp_(min=1e-6)
        inverted = changes.inverted.to(device).view(shape)
        start, sign = torch.where(inverted, high, low), torch.where(inverted, -1.0, 1.0)
        powers = (sign * (images - start) / width).clamp_(min=0).pow_(changes.gamma.to(device).view(shape))
        images = sign * powers * width + start
    images = images * changes.gain.to(device).view(shape) + changes.offset.to(device).view(shape)
    if changes.noise.any():
        # A generator for each patch, so that its noise does not depend on its neighbors.
        sources = [torch.Generator().manual_seed(seed) for seed in changes.seeds]
        noise = torch.stack([torch.randn(images.shape[1:], generator=source) for source in sources])
        images = images + noise.to(device) * changes.noise.to(device).view(shape)
    return images.clamp_(0, 1) if bounded else images


def _reduced(images: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
    """Patches at a low resolution, of nearest voxels, and enlarged again by linear interpolation."""
    size = list(images.shape[2:])
    chosen = torch.nonzero((coarse != torch.tensor(size)).any(1)).flatten().tolist()
    images = images.clone() if chosen else images
    for number in chosen:
        small = F.interpolate(images[number, None], coarse[number].tolist(), mode="nearest-exact")
        images[number] = F.interpolate(small, size, mode="trilinear", align_corners=False)[0]
    return images


def _blurred(images: torch.Tensor, sigma: torch.Tensor, reach: int) -> torch.Tensor:
    """Each patch blurred in plane by its own Gaussian."""
    n, c, x, y, z = images.shape
    offsets = torch.arange(-reach, reach + 1, device=images.device)
    kernel = torch.exp(-0.5 * (offsets / sigma.clamp(min=1e-3).view(-1, 1)) ** 2)
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(c * z, 0)
    planes = images.permute(0, 1, 4, 2, 3).reshape(1, n * c * z, x, y)
    for view, pad in (
        (kernel[:, None, :, None], (0, 0, reach, reach)),
        (kernel[:, None, None, :], (reach, reach, 0, 0)),
    ):
        planes = F.conv2d(F.pad(planes, pad, mode="replicate"), view, groups=n * c * z)
    return planes.reshape(n, c, z, x, y).permute(0, 1, 3, 4, 2)
