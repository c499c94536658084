"""Which patches make up which batch: a pure function of (seed, epoch, lanes).

A *lane* is a sequence of patches that one reader follows; every global batch takes its share from each lane.
Ranks read whole lanes, so the global batches stay the same when lanes are dealt to more or fewer ranks.
A *run* is a stretch of neighboring slots, read in one go. A *window* is as many runs as the shuffle buffer
holds: patches are shuffled inside it, runs are shuffled among each other.
"""

import heapq
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Window:
    """What is decoded at a time.

    Attributes
    ----------
    runs : tuple of (int, int)
        First slot and end slot of each stretch to read.
    rows : ndarray of int
        Rows of the split's index, in the order of use.
    places : ndarray of int
        Position of each row's patch in the stretches put end to end.
    """

    runs: tuple[tuple[int, int], ...]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def stream_windows(
    slots: NDArray[np.int64],
    streams: int,
    run_slots: int,
    window_slots: int,
    seed: int = 0,
    epoch: int | None = None,
) -> list[list[Window]]:
    """The order of an epoch, for each lane.

    Parameters
    ----------
    slots : ndarray of int, (rows,)
        Slot of each row of a split's index; a slot may occur several times, once for each rotation.
    lanes : int
    run_slots, window_slots : int
        Slots in a run and in a window.
    seed : int
    epoch : int, optional
        None keeps the order of the index: for validation and test.

    Returns
    -------
    list of list of Window
        Every row occurs exactly once.
    """
    by_slot = np.argsort(slots, kind="stable")
    run_of = slots[by_slot] // run_slots
    runs, first, counts = np.unique(run_of, return_index=True, return_counts=True)
    order = np.arange(len(runs)) if epoch is None else np.random.default_rng([seed, epoch]).permutation(len(runs))
    per_window = max(1, window_slots // run_slots)
    result = []
    for stream, mine in enumerate(_deal(order, counts, streams)):
        windows = []
        for number, start in enumerate(range(0, len(mine), per_window)):
            chosen = mine[start : start + per_window]
            rows = [by_slot[first[run] : first[run] + counts[run]] for run in chosen]
            rng = None if epoch is None else np.random.default_rng([seed, epoch, stream, number])
            windows.append(_window(slots, rows, rng))
        result.append(windows)
    return result


def stream_shares(batch_size: int, streams: int) -> list[int]:
    """How many patches of each global batch come from each lane."""
    return [batch_size // streams + (stream < batch_size % streams) for stream in range(streams)]


def step_counts(rows_per_lane: list[int], shares: list[int]) -> NDArray[np.int64]:
    """Patches that each lane gives to each step, (steps, lanes); lanes that run dry give 0."""
    steps = max((-(-rows // share) for rows, share in zip(rows_per_lane, shares, strict=True) if rows), default=0)
    taken = np.arange(steps)[:, None] * np.array(shares)
    left = np.array(rows_per_lane) - taken
    counts: NDArray[np.int64] = np.clip(left, 0, shares)
    return counts


def _deal(order: NDArray[np.int64], counts: NDArray[np.int64], streams: int) -> list[list[int]]:
    """Deal runs in this order, each to the lane that has the fewest rows so far."""
    dealt: list[list[int]] = [[] for _ in range(streams)]
    heap = [(0, stream) for stream in range(streams)]
    for run in order.tolist():
        rows, stream = heapq.heappop(heap)
        dealt[stream].append(run)
        heapq.heappush(heap, (rows + int(counts[run]), stream))
    return dealt


def _window(slots: NDArray[np.int64], rows: list[NDArray[np.int64]], rng: np.random.Generator | None) -> Window:
    """Stretches in the order of the store, neighbors joined; the shuffling is all in the rows."""
    stretches: list[tuple[int, int]] = []
    places, filled = [], 0
    for members in sorted(rows, key=lambda members: int(slots[members[0]])):
        low, high = int(slots[members].min()), int(slots[members].max()) + 1
        if stretches and stretches[-1][1] == low:
            stretches[-1] = (stretches[-1][0], high)
        else:
            stretches.append((low, high))
        places.append((members, slots[members] - low + filled))
        filled += high - low
    joined = np.concatenate([members for members, _ in places])
    where = np.concatenate([place for _, place in places])
    if rng is not None:
        shuffled = rng.permutation(len(joined))
        joined, where = joined[shuffled], where[shuffled]
    return Window(tuple(stretches), joined, where)
