"""Volumes on another grid: a common spacing or shape for all scans of a data set, and back to a scan's own grid.

The axes of both grids must be parallel, in any order and direction: one axis after the other is interpolated, which
costs a fraction of a general affine map.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.console.units import bytes_text
from voxray.errors import ScanError
from voxray.storage.machine import machine_memory
from voxray.volume import Volume

# A header keeps single precision: a spacing that differs by less is the same one.
SAME_SPACING = 1e-4
# In voxels over the whole axis: more is a rotation, and no rounding.
MOST_SKEW_VOXELS = 0.1
SLAB_VOXELS = 2**17
MOST_VOXELS = 2**32  # of a channel; a scan of the whole body has fewer
CORRECT_SPACING = "Correct the spacing in its header, or set a coarser patches.spacing_mm"


def resample(volume: Volume, spacing_mm: tuple[float, float, float], order: int, where: str = "scan") -> Volume:
    """Bring a volume to a spacing; its center keeps its world position.

    Parameters
    ----------
    volume : Volume
    spacing_mm : (x, y, z)
        Reached exactly; the number of voxels is rounded, so up to half a voxel is gained or lost at each border.
    order : int
        1 is linear, for images; 0 takes the nearest voxel, for masks.
    where : str
        Name of the scan for the message.

    Returns
    -------
    Volume
        Of the same dtype: integers are rounded to the nearest. Beyond the outermost voxel centers the border repeats.
        The same object where nothing changes.

    Raises
    ------
    ScanError
        It would become larger than any scan, or than half of this machine's memory.
    """
    ratios = _ratios(volume.spacing_mm, spacing_mm)
    if (ratios == 1).all():
        return volume
    shape = resampled_shape(volume.shape, volume.spacing_mm, spacing_mm, where)
    _check_memory(math.prod(shape) * len(volume.array) * volume.array.dtype.itemsize, where)
    old, new = np.array(volume.shape), np.array(shape)
    first = (old - 1) / 2 - ratios * (new - 1) / 2
    step = np.diag([*ratios, 1.0])
    step[:3, 3] = first
    positions = [first[axis] + ratios[axis] * np.arange(new[axis]) for axis in range(3)]
    return Volume(_sampled(volume.array, positions, order), volume.affine @ step)


def resampled_shape(
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    wanted_mm: tuple[float, float, float],
    where: str = "scan",
) -> tuple[int, int, int]:
    """Voxels along x, y, z of a volume of this shape and spacing, once it is resampled to another spacing.

    Raises
    ------
    ScanError
        They are more than any scan has.
    """
    sizes = np.maximum(1, np.floor(np.array(shape) / _ratios(spacing_mm, wanted_mm) + 0.5))
    voxels = math.prod(map(float, sizes))
    if not voxels <= MOST_VOXELS:
        now, then = (" x ".join(f"{step:g}" for step in steps) for steps in (spacing_mm, wanted_mm))
        problem = f"has a spacing of {now} mm; resampled to {then} mm it would have {voxels:.2g} voxels"
        raise ScanError(where, problem, CORRECT_SPACING)
    x, y, z = sizes.astype(int).tolist()
    return x, y, z


def _check_memory(size_bytes: int, where: str) -> None:
    memory = machine_memory()
    if size_bytes > memory // 2:
        problem = f"would take {bytes_text(size_bytes)} once it is resampled, this machine has {bytes_text(memory)}"
        raise ScanError(where, problem, CORRECT_SPACING)


def _ratios(spacing_mm: tuple[float, float, float], wanted_mm: tuple[float, float, float]) -> NDArray[np.float64]:
    ratios: NDArray[np.float64] = np.array(wanted_mm) / spacing_mm
    ratios[np.abs(ratios - 1) < SAME_SPACING] = 1
    return ratios


def resize(volume: Volume, shape: tuple[int, int, int], where: str) -> Volume:
    """Bring a volume to a number of voxels by linear interpolation; its spacing changes accordingly.

    The outermost voxel centers keep their positions ("align corners"): voxel i of n is at i · (m − 1) / (n − 1) of m.
    This equals ``scipy.ndimage.zoom(order=1)``, without smoothing before voxels are skipped. Of an axis that shrinks to
    one voxel the middle is taken; SciPy takes the first voxel.

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
        An axis of one voxel would be stretched: the distance of its voxels is undefined.
    """
    if volume.shape == shape:
        return volume
    positions: list[NDArray[np.float64]] = []
    step = np.eye(4)
    for axis, (old, new) in enumerate(zip(volume.shape, shape, strict=True)):
        if old == 1 and new > 1:
            problem = f"has one voxel along {'xyz'[axis]}, which cannot be stretched to {new}"
            raise ScanError(where, problem, "Remove it, or set patches.size to one voxel there")
        first, ratio = (0.0, (old - 1) / (new - 1)) if new > 1 else ((old - 1) / 2, float(old))
        positions.append(np.asarray(first + ratio * np.arange(new), np.float64))
        step[axis, axis], step[axis, 3] = ratio, first
    return Volume(_sampled(volume.array, positions, order=1), volume.affine @ step)


def resample_like(volume: Volume, reference: Volume, order: int) -> Volume:
    """Bring a volume to the grid of another one, for example a prediction to the geometry of its scan.

    Parameters
    ----------
    volume : Volume
    reference : Volume
        Gives shape and affine, with axes in any order and direction.
    order : int
        1 is linear, 0 nearest.

    Returns
    -------
    Volume
        Voxels (channel of `volume`, axes of `reference`), dtype of `volume`, affine of `reference`. Where the
        reference extends beyond the volume, the border repeats.

    Raises
    ------
    ScanError
        The rotation between the two grids is not a multiple of 90 degrees.
    """
    positions, axes = _positions_like(volume.affine, reference)
    sampled = _sampled(volume.array, positions, order)
    return Volume(sampled.transpose(0, *(axes + 1).tolist()), reference.affine)


def _positions_like(
    affine: NDArray[np.float64], reference: Volume
) -> tuple[list[NDArray[np.float64]], NDArray[np.int64]]:
    """Where the voxels of a reference are along each axis of a volume, in its voxels, and which axis is which."""
    between = np.linalg.inv(affine) @ reference.affine
    columns = between[:3, :3]
    axes = np.abs(columns).argmax(axis=0)
    skew = columns.copy()
    skew[axes, range(3)] = 0
    reach = np.abs(skew * (np.array(reference.shape) - 1)).max()
    if sorted(axes.tolist()) != [0, 1, 2] or reach > MOST_SKEW_VOXELS:
        problem = f"the volume's axes are rotated against those of the reference, got {np.round(columns, 4).tolist()}"
        raise ScanError("resample", problem, "Give a reference along the same axes")
    positions: list[NDArray[np.float64]] = [np.empty(0)] * 3
    for axis, count in enumerate(reference.shape):
        source = int(axes[axis])
        positions[source] = between[source, 3] + between[source, axis] * np.arange(count)
    return positions, axes


class PartsLike:
    """`resample_like` with linear interpolation for a part of the reference at a time, with the same result.

    Parameters
    ----------
    volume : Volume
        Gives shape and affine of what is resampled; its voxels are not used.
    reference : Volume
        With the same axes, in the same directions.
    """

    def __init__(self, volume: Volume, reference: Volume) -> None:
        positions, _ = _positions_like(volume.affine, reference)
        self._neighbors = [_find_neighbors(positions[axis], volume.shape[axis], 1, False) for axis in range(3)]
        self._order = _interpolation_order(self._neighbors)

    def needed(self, axis: int, span: tuple[int, int]) -> tuple[int, int]:
        """The first voxel and the end, along an axis of the volume, of what a span of the reference depends on."""
        part = self._neighbors[axis][slice(*span)]
        return int(part.below.min()), int(part.above.max()) + 1

    def sample(self, values: NDArray[Any], spans: Sequence[tuple[int, int]]) -> NDArray[Any]:
        """A part of the reference, given the voxels (channel, x, y, z) of the volume that it needs along each axis."""
        parts = []
        for axis, span in enumerate(spans):
            part, (low, high) = self._neighbors[axis][slice(*span)], self.needed(axis, span)
            parts.append(_Neighbors(part.below - low, part.above - low, part.share, high - low))
        result = np.empty((len(values), *(len(part.share) for part in parts)), values.dtype)
        for channel, filled in zip(values, result, strict=True):
            _fill(filled, channel, parts, self._order)
        return result


@dataclass(frozen=True, eq=False)
class _Neighbors:
    """The source voxels on both sides of each target voxel, along one axis.

    Attributes
    ----------
    below, above : ndarray of int, (target,)
        Indices of the neighbors.
    share : ndarray of float, (target,)
        Weight of the one above.
    extent : int
        Number of source voxels.
    """

    below: NDArray[np.int64]
    above: NDArray[np.int64]
    share: NDArray[np.float64]
    extent: int

    @property
    def growth(self) -> float:
        """Target voxels for each source voxel."""
        return len(self.share) / self.extent

    def __getitem__(self, part: slice) -> "_Neighbors":
        return _Neighbors(self.below[part], self.above[part], self.share[part], self.extent)


def _sampled(voxels: NDArray[np.generic], positions: list[NDArray[np.float64]], order: int) -> NDArray[np.generic]:
    """Values of (channel, x, y, z) voxels at all combinations of fractional indices along the three axes."""
    # In memory order, the slowest axis first and all of them forward: otherwise numpy.take copies.
    steps = voxels.strides[1:]
    axes = sorted(range(3), key=lambda axis: -abs(steps[axis]))
    forward = voxels[(slice(None), *(slice(None, None, -1 if step < 0 else 1) for step in steps))]
    neighbors = [_find_neighbors(positions[axis], voxels.shape[1 + axis], order, steps[axis] < 0) for axis in axes]
    result = np.empty((len(voxels), *(len(axis.share) for axis in neighbors)), voxels.dtype)
    along = _interpolation_order(neighbors)
    for channel, filled in zip(forward, result, strict=True):
        _fill(filled, channel.transpose(axes), neighbors, along)
    return result.transpose(0, *(1 + np.argsort(axes)))


def _find_neighbors(positions: NDArray[np.float64], extent: int, order: int, backward: bool) -> _Neighbors:
    """Neighbors of fractional indices; outside, the border repeats. With order 0 the nearest has all the weight."""
    inside = np.clip(positions if order else np.floor(positions + 0.5), 0, extent - 1)
    below = np.floor(inside).astype(np.int64)
    above = np.minimum(below + 1, extent - 1)
    if backward:
        return _Neighbors(extent - 1 - below, extent - 1 - above, inside - below, extent)
    return _Neighbors(below, above, inside - below, extent)


def _interpolation_order(neighbors: Sequence[_Neighbors]) -> list[int]:
    """The axes in the order in which they are interpolated, 0 first or last.

    The axis that shrinks most comes first, and leaves less to the others.
    """
    in_plane = sorted((1, 2), key=lambda axis: neighbors[axis].growth)
    return [0, *in_plane] if neighbors[0].growth <= neighbors[in_plane[0]].growth else [*in_plane, 0]


def _fill(result: NDArray[Any], values: NDArray[Any], neighbors: Sequence[_Neighbors], order: Sequence[int]) -> None:
    """Interpolate along three axes, the slowest of memory first or last.

    A few slices at a time: leaving the processor's cache costs more than the arithmetic.
    """
    slow = neighbors[0]

    def in_plane(slab: NDArray[Any]) -> NDArray[Any]:
        for axis in order:
            slab = _interpolated(slab, axis, neighbors[axis]) if axis else slab
        return slab

    if order[0] == 0:
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


def _interpolated(values: NDArray[Any], axis: int, neighbors: _Neighbors) -> NDArray[Any]:
    """Linear interpolation along one axis, in floats; values at whole steps stay what they are."""
    if not neighbors.share.any():
        same = np.array_equal(neighbors.below, np.arange(values.shape[axis]))
        return values if same else values.take(neighbors.below, axis=axis)
    dtype = values.dtype
    wide = np.float64 if dtype.itemsize > 4 or dtype in (np.int32, np.uint32) else np.float32
    first = values.take(neighbors.below, axis=axis)
    result: NDArray[Any] = np.subtract(values.take(neighbors.above, axis=axis), first, dtype=wide)
    result *= neighbors.share.astype(wide).reshape(np.where(np.arange(values.ndim) == axis, -1, 1))
    result += first
    return result
