"""Volumes on another grid: a common spacing or shape for all scans of a data set, and back to a scan's own grid.

Only grids whose axes run along those of the volume are reached, in any order and direction: one axis after the other
is interpolated, which costs a fraction of a general affine map and needs no library.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.volume import Volume

# A header keeps single precision: a spacing that differs by less is the same one.
SAME_SPACING = 1e-4
# In voxels over the whole axis: more is a rotation, and no rounding.
MOST_SKEW_VOXELS = 0.1
SLAB_VOXELS = 2**17


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
        Of the same dtype: integers are rounded to the nearest. Beyond the outermost voxel centers their values go on.
        The same object where nothing changes.
    """
    ratios = _ratios(volume.spacing_mm, spacing_mm)
    if (ratios == 1).all():
        return volume
    old, new = np.array(volume.shape), np.array(resampled_shape(volume.shape, volume.spacing_mm, spacing_mm))
    first = (old - 1) / 2 - ratios * (new - 1) / 2
    step = np.diag([*ratios, 1.0])
    step[:3, 3] = first
    positions = [start + ratio * np.arange(count) for start, ratio, count in zip(first, ratios, new, strict=True)]
    return Volume(_sampled(volume.array, positions, order), volume.affine @ step)


def resampled_shape(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float], wanted_mm: tuple[float, float, float]
) -> tuple[int, int, int]:
    """Voxels along x, y, z of a volume of this shape and spacing, once it is resampled to another spacing."""
    x, y, z = np.maximum(1, np.floor(np.array(shape) / _ratios(spacing_mm, wanted_mm) + 0.5)).astype(int).tolist()
    return x, y, z


def _ratios(spacing_mm: tuple[float, float, float], wanted_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    ratios: NDArray[np.float64] = np.array(wanted_mm) / spacing_mm
    ratios[np.abs(ratios - 1) < SAME_SPACING] = 1
    return ratios


def resize(volume: Volume, shape: tuple[int, int, int], where: str) -> Volume:
    """Bring a volume to a number of voxels by linear interpolation, whatever that does to its spacing.

    The outermost voxel centers stay where they are ("align corners"): voxel i of n lies at i · (m − 1) / (n − 1) of m.
    That is what ``scipy.ndimage.zoom`` does with ``order=1``; like it, nothing is smoothed before voxels are skipped.
    Along an axis that shrinks to one voxel the middle is taken, where SciPy takes the first.

    Parameters
    ----------
    volume : Volume
    shape : (x, y, z)
    where : str
        Name of the scan for the message.

    Returns
    -------
    Volume
        Of the same dtype: integers are rounded to the nearest. The same object where the shape is that already.

    Raises
    ------
    ScanError
        An axis of one voxel would be stretched: nothing says how far apart its voxels would be.
    """
    if volume.shape == shape:
        return volume
    positions: list[NDArray[np.float64]] = []
    step = np.eye(4)
    for axis, (old, new) in enumerate(zip(volume.shape, shape, strict=True)):
        if old == 1 and new > 1:
            problem = f"has one voxel along {'xyz'[axis]}, which is not stretched to {new}"
            raise ScanError(where, problem, "Leave it out, or take a patches.size of one voxel there")
        first, ratio = (0.0, (old - 1) / (new - 1)) if new > 1 else ((old - 1) / 2, float(old))
        positions.append(np.asarray(first + ratio * np.arange(new), np.float64))
        step[axis, axis], step[axis, 3] = ratio, first
    return Volume(_sampled(volume.array, positions, order=1), volume.affine @ step)


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
    sampled = _sampled(volume.array, positions, order)
    return Volume(sampled.transpose(0, *(axes + 1).tolist()), reference.affine)


@dataclass(frozen=True, eq=False)
class _Places:
    """Where the wanted voxels of one axis lie among those there are.

    Attributes
    ----------
    below, above : ndarray of int, (wanted,)
        Neighboring indices.
    share : ndarray of float, (wanted,)
        Weight of the one above.
    extent : int
        Voxels there are.
    """

    below: NDArray[np.int64]
    above: NDArray[np.int64]
    share: NDArray[np.float64]
    extent: int

    @property
    def growth(self) -> float:
        """Wanted voxels for each one there is."""
        return len(self.share) / self.extent

    def __getitem__(self, part: slice) -> "_Places":
        return _Places(self.below[part], self.above[part], self.share[part], self.extent)


def _sampled(voxels: NDArray[np.generic], positions: list[NDArray[np.float64]], order: int) -> NDArray[np.generic]:
    """Values of (channel, x, y, z) voxels at all combinations of fractional indices along the three axes."""
    # As the memory runs, the slowest axis first and all of them forward: numpy takes from nothing else without a copy.
    steps = voxels.strides[1:]
    axes = sorted(range(3), key=lambda axis: -abs(steps[axis]))
    forward = voxels[(slice(None), *(slice(None, None, -1 if step < 0 else 1) for step in steps))]
    places = [_find_places(positions[axis], voxels.shape[1 + axis], order, steps[axis] < 0) for axis in axes]
    result = np.empty((len(voxels), *(len(each.share) for each in places)), voxels.dtype)
    for channel, filled in zip(forward, result, strict=True):
        _fill(filled, channel.transpose(axes), places)
    return result.transpose(0, *(1 + np.argsort(axes)))


def _find_places(positions: NDArray[np.float64], extent: int, order: int, backward: bool) -> _Places:
    """Neighbors of fractional indices; outside, the border goes on. With order 0 the nearest has all the weight."""
    inside = np.clip(positions if order else np.floor(positions + 0.5), 0, extent - 1)
    below = np.floor(inside).astype(np.int64)
    neighbors = (below, np.minimum(below + 1, extent - 1))
    first, second = (extent - 1 - each for each in neighbors) if backward else neighbors
    return _Places(first, second, inside - below, extent)


def _fill(result: NDArray[Any], values: NDArray[Any], places: Sequence[_Places]) -> None:
    """Interpolate along three axes, the slowest of memory first.

    A few slices at a time: to leave the processor's cache costs more than all the arithmetic.
    """
    slow = places[0]
    turns = sorted((1, 2), key=lambda axis: places[axis].growth)

    def in_plane(slab: NDArray[Any]) -> NDArray[Any]:
        for axis in turns:
            slab = _interpolated(slab, axis, places[axis])
        return slab

    # The axis that shrinks most comes first, and leaves less to the others.
    if slow.growth <= places[turns[0]].growth:
        for part in _slabs(len(result), values[0].size):
            _store(result[part], in_plane(_interpolated(values, 0, slow[part])))
        return
    planes = np.concatenate([in_plane(values[part]) for part in _slabs(slow.extent, values[0].size)])
    for part in _slabs(len(result), result[0].size):
        _store(result[part], _interpolated(planes, 0, slow[part]))


def _slabs(count: int, voxels: int) -> list[slice]:
    """Parts of so many slices of so many voxels."""
    step = max(1, SLAB_VOXELS // max(1, voxels))
    return [slice(start, start + step) for start in range(0, count, step)]


def _store(result: NDArray[Any], values: NDArray[Any]) -> None:
    result[...] = np.rint(values) if result.dtype.kind in "iu" and values.dtype.kind == "f" else values


def _interpolated(values: NDArray[Any], axis: int, places: _Places) -> NDArray[Any]:
    """Linear interpolation along one axis, in floats; values at whole steps stay what they are."""
    if not places.share.any():
        same = np.array_equal(places.below, np.arange(values.shape[axis]))
        return values if same else values.take(places.below, axis=axis)
    dtype = values.dtype
    wide = np.float64 if dtype.itemsize > 4 or dtype in (np.int32, np.uint32) else np.float32
    first = values.take(places.below, axis=axis)
    result: NDArray[Any] = np.subtract(values.take(places.above, axis=axis), first, dtype=wide)
    result *= places.share.astype(wide).reshape([-1 if each == axis else 1 for each in range(values.ndim)])
    result += first
    return result
