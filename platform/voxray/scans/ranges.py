"""The bytes of a file that a view of its array covers, fetched from object storage in few requests."""

import mmap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from voxray.storage.paths import read_ranges

if TYPE_CHECKING:
    from upath import UPath

Ranges = NDArray[np.int64]
Fetch = Callable[[Sequence[NDArray[np.generic]]], None]

GAP_BYTES = 2**16  # read instead of a second request, which takes as long as a megabyte or more


def view_ranges(view: NDArray[np.generic], first: int) -> Ranges:
    """The bytes that a view covers, as ranges that are as long as possible.

    Parameters
    ----------
    view : ndarray
        In any order of axes, flipped or not.
    first : int
        Address at which the bytes are counted from.

    Returns
    -------
    ndarray, (n, 2)
        Start and end of each range, in ascending order; none where the view is empty.
    """
    if not view.size:
        return np.empty((0, 2), np.int64)
    start, _ = np.lib.array_utils.byte_bounds(view)
    axes = sorted((abs(stride), size) for stride, size in zip(view.strides, view.shape, strict=True) if size > 1)
    length = view.itemsize
    while axes and axes[0][0] == length:
        length *= axes.pop(0)[1]
    starts = np.array([start - first], np.int64)
    for stride, size in axes:
        starts = (np.arange(size, dtype=np.int64)[:, None] * stride + starts).ravel()
    starts.sort()
    return np.stack([starts, starts + length], axis=1)


def join_ranges(ranges: Ranges, gap: int) -> Ranges:
    """Merge ranges (n, 2) that overlap, touch or are at most `gap` bytes apart; in ascending order."""
    if not len(ranges):
        return ranges
    ordered = ranges[np.argsort(ranges[:, 0], kind="stable")]
    reached = np.maximum.accumulate(ordered[:, 1])
    begins = np.flatnonzero(np.r_[True, ordered[1:, 0] > reached[:-1] + gap])
    return np.stack([ordered[begins, 0], reached[np.r_[begins[1:] - 1, len(ordered) - 1]]], axis=1)


def fetch_views(path: "UPath", offset: int, memory: mmap.mmap, views: Sequence[NDArray[np.generic]]) -> None:
    """Fill views of some memory with the bytes of a file.

    The memory is as long as the file from `offset` on, the byte of the file that is the first of the memory.
    """
    first = np.frombuffer(memory, np.uint8).ctypes.data
    ranges = join_ranges(np.concatenate([view_ranges(view, first) for view in views]), GAP_BYTES)
    in_file = [(start + offset, end + offset) for start, end in ranges.tolist()]
    for (start, end), content in zip(ranges.tolist(), read_ranges(path, in_file), strict=True):
        memory[start:end] = content
