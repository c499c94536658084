"""Axes and coordinates: a volume is RAS+, whatever the order of its file."""

from typing import Protocol

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, io_orientation, ornt2axcodes, ornt_transform
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.volume import Volume

# Beyond any microscope and any telescope: what is computed from such numbers means nothing.
LEAST_STEP_MM, MOST_STEP_MM = 1e-6, 1e6


class Grid(Protocol):
    """What a volume and a header have in common."""

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along x, y, z."""

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of their centers."""


LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


def canonical_volume(voxels: NDArray[np.generic], affine: NDArray[np.float64]) -> Volume:
    """Permute and flip axes so that they point as nearly as can be to right, anterior, superior.

    World coordinates of every voxel stay what they were. Nothing is resampled or copied: the result is a view.

    Parameters
    ----------
    voxels : ndarray, (channel, i, j, k)
        In the file's order.
    affine : ndarray, (4, 4)
        Index (i, j, k) to world millimeters, RAS.

    Returns
    -------
    Volume
        Voxels (channel, x, y, z) and their affine.
    """
    return in_axes_of(Volume(voxels, affine), np.eye(4))


def canonical_grid(
    shape: tuple[int, int, int], affine: NDArray[np.float64]
) -> tuple[tuple[int, int, int], NDArray[np.float64]]:
    """Shape and affine that `canonical_volume` gives to voxels of this shape and affine."""
    orientation = _orientation(affine)
    x, y, z = (shape[int(old)] for old in orientation[:, 0].argsort())
    return (x, y, z), affine @ inv_ornt_aff(orientation, shape)


def axis_codes(affine: NDArray[np.float64]) -> str:
    """Where the axes of an affine point to, such as ``LPS``: to the left, the back and the head."""
    return "".join(ornt2axcodes(_orientation(affine)))


def check_affine(affine: NDArray[np.float64], where: str) -> None:
    """Raise ScanError if an affine is singular or not finite, or has a spacing that nothing can have."""
    with np.errstate(invalid="ignore", over="ignore"):
        size = float(np.abs(np.linalg.det(affine[:3, :3])))
        steps = np.linalg.norm(affine[:3, :3], axis=0)
    # Written so that a NaN fails the check too.
    if not size > 0 or not np.isfinite(affine).all():
        rows = np.round(affine[:3], 6).tolist()
        raise ScanError(where, f"the affine of its header is singular or not finite, got {rows}", "Correct it")
    if not (steps > LEAST_STEP_MM).all() or not (steps < MOST_STEP_MM).all():
        got = " x ".join(f"{step:g}" for step in steps)
        raise ScanError(where, f"its header has a spacing of {got} mm", "Correct it")


def check_spacing(grid: "Grid", limits_mm: tuple[float, float], where: str) -> None:
    """Raise ScanError where voxels are nearer or farther apart than any scanner's; a single voxel has no distance."""
    low, high = limits_mm
    steps = [step for step, size in zip(grid.spacing_mm, grid.shape, strict=True) if size > 1]
    if not all(low <= step <= high for step in steps):
        got = "x".join(f"{step:.4g}" for step in grid.spacing_mm)
        problem = f"expected a spacing of {low:g} to {high:g} mm, got {got}"
        raise ScanError(where, problem, "Correct the unit or spacing in its header, or widen patches.spacing_range_mm")


def in_axes_of(volume: Volume, affine: NDArray[np.float64]) -> Volume:
    """A volume with its axes in the order and directions of those of `affine`; the inverse of `canonical_volume`.

    Parameters
    ----------
    volume : Volume
        On the same grid, in any axes.
    affine : ndarray, (4, 4)
        Of the axes to reach, for example those of the file that the volume was read from.
    """
    turn = ornt_transform(_orientation(volume.affine), _orientation(affine))
    turned = apply_orientation(volume.array.transpose(1, 2, 3, 0), turn)
    return Volume(turned.transpose(3, 0, 1, 2), volume.affine @ inv_ornt_aff(turn, volume.shape))


def _orientation(affine: NDArray[np.float64]) -> NDArray[np.float64]:
    """nibabel's orientation of an affine; without its singular value decomposition where the axes are not oblique."""
    rotation = affine[:3, :3]
    axes = np.abs(rotation).argmax(axis=0)
    if np.count_nonzero(rotation) == 3 and set(axes.tolist()) == {0, 1, 2}:
        return np.stack([axes, np.sign(rotation[axes, [0, 1, 2]])], axis=1).astype(float)
    orientation: NDArray[np.float64] = io_orientation(affine)
    return orientation


def lps_affine(
    origin_mm: NDArray[np.float64], direction: NDArray[np.float64], spacing_mm: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Index to world RAS for a file that keeps ITK's LPS origin, direction columns and spacing."""
    affine = np.eye(4)
    affine[:3, :3] = direction * spacing_mm
    affine[:3, 3] = origin_mm
    ras: NDArray[np.float64] = LPS_TO_RAS @ affine
    return ras


def world_to_voxel(affine: NDArray[np.float64], points_mm: NDArray[np.float64]) -> NDArray[np.float64]:
    """World millimeters (n, 3) to continuous voxel indices (n, 3); a voxel's center is at its integer index."""
    inverse = np.linalg.inv(affine)
    voxels: NDArray[np.float64] = points_mm @ inverse[:3, :3].T + inverse[:3, 3]
    return voxels


def voxel_to_world(affine: NDArray[np.float64], indices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Continuous voxel indices (n, 3) to world millimeters (n, 3)."""
    points: NDArray[np.float64] = indices @ affine[:3, :3].T + affine[:3, 3]
    return points


def corners_apart_mm(
    shape: tuple[int, int, int], affine: NDArray[np.float64], other: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """How far two affines put the eight corners of a volume apart: voxel indices (8, 3), and millimeters (8,)."""
    corners = np.array(list(np.ndindex(2, 2, 2))) * (np.array(shape) - 1)
    apart = voxel_to_world(affine, corners) - voxel_to_world(other, corners)
    return corners, np.linalg.norm(apart, axis=1)


def extent(shape: tuple[int, ...]) -> str:
    """Voxels along each axis, such as ``64x64x32``."""
    return "x".join(map(str, shape))
