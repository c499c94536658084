"""Boxes of a volume: on foreground, anywhere, in a grid, or the whole. Pure functions of shapes, masks and a generator.

Along an axis on which the volume is smaller than the box, the box has one place: the volume is in its middle.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.volume import PatchBox

Size = tuple[int, int, int]


def draw_boxes(
    label: NDArray[np.generic], size: Size, count: int, min_foreground: float, rng: np.random.Generator
) -> list[PatchBox]:
    """Draw boxes of which more than a share is foreground, each place that is so with the same chance.

    That is what drawing blindly and drawing again amounts to, but no draw is lost: the foreground of every possible
    box is counted first, by running sums along one axis after the other. Where no place has enough foreground, the
    places with the most of it are drawn from; in a mask without foreground these are all places.

    Parameters
    ----------
    label : ndarray of integers or bool, (x, y, z)
        0 is background.
    size : (x, y, z)
    count : int
        Boxes to draw. They differ from each other as long as there are places enough.
    min_foreground : float
        Share of the box's voxels that are inside the volume; S3 of the seeds draws again while 95 % or more are
        background, so 0.05 is its rule: exactly that share is not enough. 0 means at least one voxel.
    rng : numpy.random.Generator

    Returns
    -------
    list of PatchBox
    """
    counts = foreground_counts(label, size)
    inside = math.prod(min(extent, length) for extent, length in zip(label.shape, size, strict=True))
    # Whole numbers: 0.05 * 409,600 in floating point is not 20,480.
    enough = math.floor(min_foreground * inside * (1 + 1e-12)) + 1
    places = np.flatnonzero(counts >= min(enough, int(counts.max())))
    return _boxes(places[_choose(len(places), count, rng)], counts.shape, label.shape, size)


def random_boxes(shape: Sequence[int], size: Size, count: int, rng: np.random.Generator) -> list[PatchBox]:
    """Draw boxes anywhere inside a volume, each place with the same chance.

    They differ from each other as long as there are places enough.
    """
    places = _places(shape, size)
    return _boxes(_choose(math.prod(places), count, rng), places, shape, size)


def grid_boxes(shape: Sequence[int], size: Size) -> list[PatchBox]:
    """The fewest boxes in a regular grid that cover a volume; z runs fastest.

    The last box of an axis is moved back inside the volume, so that it overlaps the one before.

    Parameters
    ----------
    shape : (x, y, z)
        Of the volume.
    size : (x, y, z)
    """
    axes = []
    for extent, length in zip(shape, size, strict=True):
        last = _places([extent], (length,))[0] - 1
        first = _first_start(extent, length)
        axes.append([first + min(start, last) for start in range(0, last + length, length)])
    return [PatchBox((x, y, z), size) for x in axes[0] for y in axes[1] for z in axes[2]]


def whole_box(shape: Sequence[int], size: Size, where: str) -> PatchBox:
    """The box with a volume in its middle.

    Raises
    ------
    ScanError
        The volume is larger than the box.
    """
    if any(extent > length for extent, length in zip(shape, size, strict=True)):
        problem = f"does not fit into a patch of {_extent(size)} as a whole, got {_extent(shape)} voxels"
        raise ScanError(where, problem, "Enlarge patches.size, or cut the scan into a grid")
    x, y, z = (_first_start(extent, length) for extent, length in zip(shape, size, strict=True))
    return PatchBox((x, y, z), size)


def foreground_counts(label: NDArray[np.generic], size: Sequence[int]) -> NDArray[np.int32]:
    """Voxels other than 0 in the box at each possible place.

    Parameters
    ----------
    label : ndarray, (x, y, z)
    size : (x, y, z)

    Returns
    -------
    ndarray of int32
        One entry for each place: volume minus box plus one along each axis, but at least one.
    """
    spans = _foreground_spans(label)
    x, y, z = (slice(low, high) for low, high in spans)
    sums: NDArray[np.int32] = (label[x, y, z] != 0).astype(np.int32)
    places = _places(label.shape, size)
    # The axis that grows least comes first, and leaves less to the others.
    growth = [count / max(1, high - low) for count, (low, high) in zip(places, spans, strict=True)]
    for axis in np.argsort(growth, kind="stable").tolist():
        sums = _window_sums(sums, axis, places[axis], size[axis], *spans[axis])
    return sums


def _foreground_spans(label: NDArray[np.generic]) -> list[tuple[int, int]]:
    """First and one past the last foreground index of each axis: a tumor fills little of a scan."""
    across_x = np.any(label, axis=0)
    y, z = _span(np.any(across_x, axis=1)), _span(np.any(across_x, axis=0))
    x = _span(np.any(label[:, slice(*y), slice(*z)], axis=(1, 2)))
    return [x, y, z]


def _span(hits: Any) -> tuple[int, int]:
    found = np.flatnonzero(hits)
    return (int(found[0]), int(found[-1]) + 1) if len(found) else (0, 0)


def _window_sums(
    values: NDArray[np.int32], axis: int, places: int, length: int, low: int, high: int
) -> NDArray[np.int32]:
    """Sums along an axis in the windows that start at 0, 1, …; `values` lie at low to high, all others are 0."""
    shape = list(values.shape)
    shape[axis] += 1
    totals = np.zeros(shape, np.int32)
    after: list[slice] = [slice(None)] * 3
    after[axis] = slice(1, None)
    np.cumsum(values, axis=axis, out=totals[tuple(after)])
    starts = np.arange(places)
    sums: NDArray[np.int32] = totals.take(np.clip(starts + length, low, high) - low, axis=axis)
    sums -= totals.take(np.clip(starts, low, high) - low, axis=axis)
    return sums


def _places(shape: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """Number of different starts along each axis."""
    return tuple(max(1, extent - length + 1) for extent, length in zip(shape, size, strict=True))


def _first_start(extent: int, length: int) -> int:
    """0, or where a box that is longer than the volume begins; an odd voxel of padding goes behind."""
    return -max(0, (length - extent) // 2)


def _choose(places: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.choice(places, count, replace=count > places)


def _boxes(places: NDArray[np.int64], counts: Sequence[int], shape: Sequence[int], size: Size) -> list[PatchBox]:
    """Boxes of flat indices into an array with an entry for each place."""
    first = [_first_start(extent, length) for extent, length in zip(shape, size, strict=True)]
    starts = np.stack(np.unravel_index(places, tuple(counts)), axis=1) + first
    return [PatchBox((x, y, z), size) for x, y, z in starts.tolist()]


def _extent(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
