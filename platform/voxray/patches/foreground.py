"""Boxes of a volume: on foreground, anywhere, in a grid, or the whole. Pure functions of shapes, masks and a generator.

Along an axis where the volume is smaller than the box, the box has one position: the volume is in its middle.
"""

import itertools
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
    """Draw boxes with more than a share of foreground, each such position with the same probability.

    The distribution is that of rejection sampling, but no draw is rejected: the foreground of every possible box is
    counted first, by running sums along one axis after the other. Where no position has enough foreground, those with
    the most are drawn from; in a mask without foreground these are all positions.

    Parameters
    ----------
    label : ndarray of integers or bool, (x, y, z)
        0 is background.
    count : int
        Boxes to draw. They differ from each other as long as there are enough positions.
    min_foreground : float
        Share of the box's voxels inside the volume. Exactly that share is not enough: 0.05 equals drawing again while
        95 % or more are background. 0 means at least one voxel.
    """
    counts = foreground_counts(label, size)
    inside = math.prod(map(min, label.shape, size))
    # Integers: 0.05 * 409,600 in floating point is not 20,480.
    enough = math.floor(min_foreground * inside * (1 + 1e-12)) + 1
    positions = np.flatnonzero(counts >= min(enough, int(counts.max())))
    return _boxes(positions[_choose(len(positions), count, rng)], counts.shape, label.shape, size)


def random_boxes(shape: Sequence[int], size: Size, count: int, rng: np.random.Generator) -> list[PatchBox]:
    """Draw boxes anywhere inside a volume, each position with the same probability.

    They differ from each other as long as there are enough positions.
    """
    positions = _positions(shape, size)
    return _boxes(_choose(math.prod(positions), count, rng), positions, shape, size)


def grid_boxes(shape: Sequence[int], size: Size) -> list[PatchBox]:
    """The fewest boxes in a regular grid that cover a volume; z runs fastest.

    The last box along an axis is moved back inside the volume, so that it overlaps the one before.
    """
    axes = []
    for extent, length in zip(shape, size, strict=True):
        last = _positions([extent], (length,))[0] - 1
        first = _first_start(extent, length)
        axes.append([first + min(start, last) for start in range(0, last + length, length)])
    return [PatchBox(start, size) for start in itertools.product(axes[0], axes[1], axes[2])]


def whole_box(shape: Sequence[int], size: Size, where: str) -> PatchBox:
    """The box with a volume in its middle.

    Raises
    ------
    ScanError
        The volume is larger than the box.
    """
    if np.greater(shape, size).any():
        problem = f"does not fit into a patch of {_extent(size)} as a whole, got {_extent(shape)} voxels"
        raise ScanError(where, problem, "Enlarge patches.size, or cut the scan into a grid")
    x, y, z = map(_first_start, shape, size)
    return PatchBox((x, y, z), size)


def foreground_counts(label: NDArray[np.generic], size: Sequence[int]) -> NDArray[np.int32]:
    """Voxels other than 0 in the box at each possible position in a label (x, y, z).

    Returns
    -------
    ndarray of int32
        One entry for each position: volume minus box plus one along each axis, but at least one.
    """
    spans = _foreground_spans(label)
    sums: NDArray[np.int32] = (label[tuple(slice(*span) for span in spans)] != 0).astype(np.int32)
    positions = _positions(label.shape, size)
    # The axis that grows least comes first, which leaves less work for the others.
    growth = [count / max(1, high - low) for count, (low, high) in zip(positions, spans, strict=True)]
    for axis in np.argsort(growth, kind="stable").tolist():
        sums = _window_sums(sums, axis, positions[axis], size[axis], *spans[axis])
    return sums


def _foreground_spans(label: NDArray[np.generic]) -> list[tuple[int, int]]:
    """First and end index of the foreground along each axis: a tumor fills little of a scan."""
    across_x = np.any(label, axis=0)
    y, z = _span(np.any(across_x, axis=1)), _span(np.any(across_x, axis=0))
    x = _span(np.any(label[:, slice(*y), slice(*z)], axis=(1, 2)))
    return [x, y, z]


def _span(hits: Any) -> tuple[int, int]:
    indices = np.flatnonzero(hits)
    return (int(indices[0]), int(indices[-1]) + 1) if len(indices) else (0, 0)


def _window_sums(
    values: NDArray[np.int32], axis: int, positions: int, length: int, low: int, high: int
) -> NDArray[np.int32]:
    """Sums along an axis in the windows that start at 0, 1, …; `values` span low to high, all others are 0."""
    shape = list(values.shape)
    shape[axis] += 1
    totals = np.zeros(shape, np.int32)
    after: list[slice] = [slice(None)] * 3
    after[axis] = slice(1, None)
    np.cumsum(values, axis=axis, out=totals[tuple(after)])
    starts = np.arange(positions)
    sums: NDArray[np.int32] = totals.take(np.clip(starts + length, low, high) - low, axis=axis)
    sums -= totals.take(np.clip(starts, low, high) - low, axis=axis)
    return sums


def _positions(shape: Sequence[int], size: Sequence[int]) -> tuple[int, ...]:
    """Number of different starts along each axis."""
    return tuple(max(1, extent - length + 1) for extent, length in zip(shape, size, strict=True))


def _first_start(extent: int, length: int) -> int:
    """0, or the start of a box that is longer than the volume; an odd voxel of padding goes to the end."""
    return -max(0, (length - extent) // 2)


def _choose(positions: int, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    return rng.choice(positions, count, replace=count > positions)


def _boxes(indices: NDArray[np.int64], counts: Sequence[int], shape: Sequence[int], size: Size) -> list[PatchBox]:
    """Boxes of flat indices into an array with an entry for each position."""
    starts = np.stack(np.unravel_index(indices, tuple(counts)), axis=1) + list(map(_first_start, shape, size))
    return [PatchBox((x, y, z), size) for x, y, z in starts.tolist()]


def _extent(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
