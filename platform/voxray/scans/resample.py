"""Volumes on another grid: a common spacing for all scans of a data set, and back to a scan's own grid.

Only grids whose axes run along those of the volume are reached, in any order and direction: one axis after the other
is interpolated, which costs a fraction of a general affine map and needs no library.
"""

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.volume import Volume

# A header keeps single precision: a spacing that differs by less is the same one.
SAME_SPACING = 1e-4
# In voxels over the whole axis: more is a rotation, and no rounding.
MOST_SKEW_VOXELS = 0.1


def resample(volume: Volume, spacing_mm: tuple[float, float, float], order: int) -> Volume:
    """Bring a volume to a spacing; its middle stays where it is in the world.

    Parameters
    ----------
    volume : Volume
    spacing_mm : (x, y, z)
        Kept exactly; the number of voxels is rounded, so up to half a voxel is won or lost at each border.
    order : int
        1 is linear, for images; 0 takes the nearest voxel, for masks.

    Returns
    -------
    Volume
        Of the same dtype: integers are rounded to the nearest. Beyond the outermost voxel centres their values go on.
        The same object where nothing changes.
    """
    ratios = np.array(spacing_mm) / volume.spacing_mm
    ratios[np.abs(ratios - 1) < SAME_SPACING] = 1
    if (ratios == 1).all():
        return volume
    old = np.array(volume.shape)
    new = np.maximum(1, np.floor(old / ratios + 0.5)).astype(int)
    first = (old - 1) / 2 - ratios * (new - 1) / 2
    step = np.diag([*ratios, 1.0])
    step[:3, 3] = first
    positions = [start + ratio * np.arange(count) for start, ratio, count in zip(first, ratios, new, strict=True)]
    return Volume(_sampled(volume.voxels, positions, order), volume.affine @ step)


def resample_like(volume: Volume, reference: Volume, order: int) -> Volume:
    """Bring a volume to the grid of another one, for example a prediction back to the scan's own geometry.

    Parameters
    ----------
    volume : Volume
    reference : Volume
        Gives shape and affine. Its axes may be in the file's own order and direction.
    order : int
        1 is linear, 0 nearest.

    Returns
    -------
    Volume
        Voxels (channel of `volume`, axes of `reference`), dtype of `volume`, affine of `reference`. Where the
        reference reaches beyond the volume, the border goes on.

    Raises
    ------
    ScanError
        The two grids are rotated against each other by no multiple of 90 degrees.
    """
    between = np.linalg.inv(volume.affine) @ reference.affine
    columns = between[:3, :3]
    axes = np.abs(columns).argmax(axis=0)
    skew = columns.copy()
    skew[axes, range(3)] = 0
    reach = np.abs(skew * (np.array(reference.shape) - 1)).max()
    if sorted(axes.tolist()) != [0, 1, 2] or reach > MOST_SKEW_VOXELS:
        problem = f"the volume's axes are rotated against those of the reference, got {np.round(columns, 4).tolist()}"
        raise ScanError("resample", problem, "Give a reference along the same axes")
    positions: list[NDArray[np.float64]] = [np.empty(0)] * 3
    for axis, count in zip(range(3), reference.shape, strict=True):
        own = int(axes[axis])
        positions[own] = between[own, 3] + between[own, axis] * np.arange(count)
    sampled = _sampled(volume.voxels, positions, order)
    return Volume(sampled.transpose(0, *(axes + 1).tolist()), reference.affine)


def _sampled(voxels: NDArray[np.generic], positions: list[NDArray[np.float64]], order: int) -> NDArray[np.generic]:
    """Values of (channel, x, y, z) voxels at all combinations of fractional indices along the three axes."""
    shrink = [len(wanted) / extent for wanted, extent in zip(positions, voxels.shape[1:], strict=True)]
    # The axis that shrinks most comes first, and leaves less to the others.
    turns = [int(axis) for axis in np.argsort(shrink, kind="stable")]
    if order == 0:
        for axis in turns:
            nearest = np.floor(positions[axis] + 0.5).astype(int)
            voxels = voxels.take(np.clip(nearest, 0, voxels.shape[1 + axis] - 1), axis=1 + axis)
        return voxels
    wide = np.float64 if voxels.dtype.itemsize > 4 or voxels.dtype in (np.int32, np.uint32) else np.float32
    values: NDArray[np.floating] = voxels.astype(wide)
    for axis in turns:
        values = _interpolated(values, positions[axis], 1 + axis)
    if voxels.dtype.kind in "iu":
        np.rint(values, out=values)
    result: NDArray[np.generic] = values.astype(voxels.dtype, copy=False)
    return result


def _interpolated(values: NDArray[np.floating], positions: NDArray[np.float64], axis: int) -> NDArray[np.floating]:
    """Linear interpolation along one axis; outside, the border goes on."""
    last = values.shape[axis] - 1
    inside = np.clip(positions, 0, last)
    below = np.floor(inside).astype(int)
    if (below == inside).all():
        # Whole steps: a copy at most, and none where the axis stays as it is.
        return values if np.array_equal(below, np.arange(last + 1)) else values.take(below, axis=axis)
    shape = [1] * values.ndim
    shape[axis] = len(positions)
    share = (inside - below).astype(values.dtype).reshape(shape)
    first = values.take(below, axis=axis)
    rise = values.take(np.minimum(below + 1, last), axis=axis)
    rise -= first
    rise *= share
    first += rise
    return first
