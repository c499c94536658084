"""The patches of each batch: a pure function of (seed, epoch, streams).

A *stream* is a sequence of patches that one reader follows; every global batch takes its share from each stream.
Ranks read whole streams, so the global batches stay the same when more or fewer ranks share the streams.
A *block* is a range of neighboring slots, read at once. A *window* is as many blocks as the shuffle buffer holds:
patches are shuffled within a window, blocks across the epoch.
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Window:
    """Patches that are decoded together.

    Attributes
    ----------
    spans : tuple of (int, int)
        First slot and end slot of each range to read.
    rows : ndarray of int
        Rows of the split's index, in the order of use.
    offsets : ndarray of int
        Position of each row's patch in the concatenated spans.
    """

    spans: tuple[tuple[int, int], ...]
    rows: NDArray[np.int64]
    offsets: NDArray[np.int64]


def stream_windows(
    slots: NDArray[np.int64],
    streams: int,
    block_slots: int,
    window_slots: int,
    seed: int = 0,
    epoch: int | None = None,
) -> list[list[Window]]:
    """The order of an epoch, for each stream.

    Parameters
    ----------
    slots : ndarray of int, (rows,)
        Slot of each row of a split's index; a slot may occur several times, once for each rotation.
    streams : int
    block_slots, window_slots : int
        Slots in a block and in a window.
    seed : int
    epoch : int, optional
        None keeps the order of the index: for validation and test.

    Returns
    -------
    list of list of Window
        Every row occurs exactly once.
    """
    by_slot = np.argsort(slots, kind="stable")
    blocks, first, counts = np.unique(slots[by_slot] // block_slots, return_index=True, return_counts=True)
    order = np.arange(len(blocks)) if epoch is None else np.random.default_rng([seed, epoch]).permutation(len(blocks))
    per_window = max(1, window_slots // block_slots)
    result = []
    for stream, assigned in enumerate(_assign(order, counts, streams)):
        windows = []
        for number, start in enumerate(range(0, len(assigned), per_window)):
            members = assigned[start : start + per_window]
            rows = [by_slot[first[block] : first[block] + counts[block]] for block in members]
            rng = None if epoch is None else np.random.default_rng([seed, epoch, stream, number])
            windows.append(_window(slots, rows, rng))
        result.append(windows)
    return result


def stream_shares(batch_size: int, streams: int) -> list[int]:
    """Number of patches of each global batch that come from each stream."""
    return [batch_size // streams + (stream < batch_size % streams) for stream in range(streams)]


def step_counts(stream_rows: list[int], shares: list[int]) -> NDArray[np.int64]:
    """Patches that each stream gives to each step, (steps, streams); exhausted streams give 0."""
    steps = max((-(-rows // share) for rows, share in zip(stream_rows, shares, strict=True) if rows), default=0)
    taken = np.arange(steps)[:, None] * np.array(shares)
    counts: NDArray[np.int64] = np.clip(np.array(stream_rows) - taken, 0, shares)
    return counts


def _assign(order: NDArray[np.int64], counts: NDArray[np.int64], streams: int) -> list[list[int]]:
    """Assign blocks in this order, each to the stream with the fewest rows so far."""
    assigned: list[list[int]] = [[] for _ in range(streams)]
    heap = [(0, stream) for stream in range(streams)]
    for block in order.tolist():
        rows, stream = heapq.heappop(heap)
        assigned[stream].append(block)
        heapq.heappush(heap, (rows + int(counts[block]), stream))
    return assigned


def _window(slots: NDArray[np.int64], rows: list[NDArray[np.int64]], rng: np.random.Generator | None) -> Window:
    """Spans in the order of the store, neighbors joined; only the rows are shuffled."""
    spans: list[tuple[int, int]] = []
    parts, filled = [], 0
    for members in sorted(rows, key=lambda members: int(slots[members[0]])):
        low, high = int(slots[members].min()), int(slots[members].max()) + 1
        if spans and spans[-1][1] == low:
            spans[-1] = (spans[-1][0], high)
        else:
            spans.append((low, high))
        parts.append((members, slots[members] - low + filled))
        filled += high - low
    window_rows, offsets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if rng is not None:
        shuffled = rng.permutation(len(window_rows))
        window_rows, offsets = window_rows[shuffled], offsets[shuffled]
    return Window(tuple(spans), window_rows, offsets)
