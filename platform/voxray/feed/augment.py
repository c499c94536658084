"""What happens to a batch on the model's device: numbers to [0, 1], stored rotations, random changes.

Random changes are drawn on the CPU for the whole global batch, so that a patch is changed in the same way
whichever rank it is on.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from voxray.config.experiment import AugmentSpec

AXES = {"x": 2, "y": 3, "z": 4}


def scale_window(images: torch.Tensor, window: Sequence[float]) -> torch.Tensor:
    """Clip to the window and scale it to [0, 1].

    Parameters
    ----------
    images : Tensor, any shape and real dtype
    window : (low, high)
        In the scan's own numbers.

    Returns
    -------
    Tensor of float32
    """
    low, high = window
    return images.to(torch.float32).clamp_(low, high).sub_(low).div_(high - low)


def rotate_stored(images: torch.Tensor, rotations: torch.Tensor) -> torch.Tensor:
    """Turn each patch in plane (from x towards y) by its multiple of 90 degrees; exact.

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
    affine : Tensor, (n, 2, 3), optional
        In plane, in the normalised coordinates of `torch.nn.functional.affine_grid`.
    gain, offset : Tensor, (n,)
        Of the scaled intensity.
    """

    flips: torch.Tensor
    turns: torch.Tensor
    affine: torch.Tensor | None
    gain: torch.Tensor
    offset: torch.Tensor


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
    draws = np.random.default_rng(list(key)).random((total, 10))[positions]
    both = 2 * draws - 1
    flips = (draws[:, :3] < 0.5) & [axis in spec.flip for axis in AXES]
    turns = 90 * np.floor(4 * draws[:, 3]).astype(np.int64) * spec.quarter_turns
    moves = spec.rotate_degrees or spec.scale or spec.shift_voxels
    return Changes(
        flips=torch.from_numpy(flips),
        turns=torch.from_numpy(turns),
        affine=_affine(spec, both, size) if moves else None,
        gain=torch.from_numpy(1 + spec.contrast * both[:, 7]).float(),
        offset=torch.from_numpy(spec.brightness * both[:, 8]).float(),
    )


def _affine(spec: AugmentSpec, both: NDArray[np.float64], size: tuple[int, int, int]) -> torch.Tensor:
    angle = np.radians(spec.rotate_degrees * both[:, 4])
    zoom = 1 / (1 + spec.scale * both[:, 5])
    # One draw gives the length of the shift, another its direction.
    reach, turn = spec.shift_voxels * both[:, 6], np.pi * both[:, 9]
    x, y, _ = size
    cos, sin = zoom * np.cos(angle), zoom * np.sin(angle)
    rows = [
        [cos, -sin * x / y, 2 * reach * np.cos(turn) / y],
        [sin * y / x, cos, 2 * reach * np.sin(turn) / x],
    ]
    return torch.from_numpy(np.array(rows).transpose(2, 0, 1)).float()


def change_batch(images: torch.Tensor, changes: Changes) -> torch.Tensor:
    """Apply random changes.

    Parameters
    ----------
    images : Tensor of float32, (n, channel, x, y, z), in [0, 1]

    Returns
    -------
    Tensor, like `images`; what an affine map brings in from outside repeats the border.
    """
    for axis in range(3):
        chosen = torch.nonzero(changes.flips[:, axis]).flatten().to(images.device)
        if len(chosen):
            images[chosen] = images[chosen].flip(2 + axis)
    images = rotate_stored(images, changes.turns)
    if changes.affine is not None:
        n, c, x, y, z = images.shape
        planes = images.permute(0, 1, 4, 2, 3).reshape(n, c * z, x, y)
        grid = F.affine_grid(changes.affine.to(images.device), [n, c * z, x, y], align_corners=False)
        moved = F.grid_sample(planes, grid, padding_mode="border", align_corners=False)
        images = moved.reshape(n, c, z, x, y).permute(0, 1, 3, 4, 2)
    shape = (-1, 1, 1, 1, 1)
    gain, offset = changes.gain.to(images.device), changes.offset.to(images.device)
    return images.mul_(gain.view(shape)).add_(offset.view(shape)).clamp_(0, 1)
