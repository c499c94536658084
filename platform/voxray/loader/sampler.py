"""The patches of each batch: a pure function of (seed, epoch, streams).

An *entry* is a patch of an epoch: a row of the split's index, or one of the crops of a row.
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
    entries : ndarray of int
        In the order of use.
    offsets : ndarray of int
        Position of each entry's patch in the concatenated spans.
    """

    spans: tuple[tuple[int, int], ...]
    entries: NDArray[np.int64]
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
    slots : ndarray of int, (entries,)
        Slot of each entry; a slot may occur several times, once for each rotation and crop.
    streams : int
    block_slots, window_slots : int
        Slots in a block and in a window.
    seed : int
    epoch : int, optional
        None keeps the order of the index: for validation and test.

    Returns
    -------
    list of list of Window
        Every entry occurs exactly once.
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
            entries = [by_slot[first[block] : first[block] + counts[block]] for block in members]
            rng = None if epoch is None else np.random.default_rng([seed, epoch, stream, number])
            windows.append(_window(slots, entries, rng))
        result.append(windows)
    return result


def stream_shares(batch_size: int, streams: int) -> list[int]:
    """Number of patches of each global batch that come from each stream."""
    return [batch_size // streams + (stream < batch_size % streams) for stream in range(streams)]


def step_counts(stream_entries: list[int], shares: list[int]) -> NDArray[np.int64]:
    """Patches that each stream gives to each step, (steps, streams); exhausted streams give 0."""
    steps = max((-(-count // share) for count, share in zip(stream_entries, shares, strict=True) if count), default=0)
    taken = np.arange(steps)[:, None] * np.array(shares)
    counts: NDArray[np.int64] = np.clip(np.array(stream_entries) - taken, 0, shares)
    return counts


def _assign(order: NDArray[np.int64], counts: NDArray[np.int64], streams: int) -> list[list[int]]:
    """Assign blocks in this order, each to the stream with the fewest entries so far."""
    assigned: list[list[int]] = [[] for _ in range(streams)]
    heap = [(0, stream) for stream in range(streams)]
    for block in order.tolist():
        filled, stream = heapq.heappop(heap)
        assigned[stream].append(block)
        heapq.heappush(heap, (filled + int(counts[block]), stream))
    return assigned


def _window(slots: NDArray[np.int64], entries: list[NDArray[np.int64]], rng: np.random.Generator | None) -> Window:
    """Spans in the order of the store, neighbors joined; only the entries are shuffled."""
    spans: list[tuple[int, int]] = []
    parts, filled = [], 0
    for members in sorted(entries, key=lambda members: int(slots[members[0]])):
        low, high = int(slots[members].min()), int(slots[members].max()) + 1
        if spans and spans[-1][1] == low:
            spans[-1] = (spans[-1][0], high)
        else:
            spans.append((low, high))
        parts.append((members, slots[members] - low + filled))
        filled += high - low
    ordered, offsets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    if rng is not None:
        shuffled = rng.permutation(len(ordered))
        ordered, offsets = ordered[shuffled], offsets[shuffled]
    return Window(tuple(spans), ordered, offsets)
