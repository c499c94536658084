"""Reading one stream: windows are decoded into reused buffers, patches are taken from them in order."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.errors import StoreError
from voxray.loader.crops import Cropping, crop
from voxray.loader.sampler import Window
from voxray.store.read import check_patches
from voxray.store.sharded import ShardedArray

Arrays = list[NDArray[np.generic]]


class Taken(NamedTuple):
    """Patches that were taken from a stream.

    Attributes
    ----------
    entries : ndarray of int, (n,)
    starts : ndarray of int, (n, 3)
        First voxel of what was copied of each patch.
    arrays : list of ndarray, (n, …)
        Images, and masks if the store has them.
    """

    entries: NDArray[np.int64]
    starts: NDArray[np.int64]
    arrays: Arrays


class PatchChecks:
    """Compares each patch with its checksum in the index when it is decoded for the first time.

    The checksums of chunks, which every decoding compares, cannot tell a shard of another store or of older scans.

    Parameters
    ----------
    arrays : sequence of ShardedArray
        Images, and masks if the store has them.
    slots : ndarray of int, (rows,)
    checksums : pyarrow.ChunkedArray of str, (rows,)
    rows : ndarray of int, (entries,)
        Row of each entry of an epoch.
    """

    def __init__(
        self,
        arrays: Sequence[ShardedArray],
        slots: NDArray[np.int64],
        checksums: pa.ChunkedArray,
        rows: NDArray[np.int64],
    ) -> None:
        self.arrays, self.slots, self.checksums, self.rows = arrays, slots, checksums, rows
        self.done = np.zeros(len(slots), np.bool_)

    def check(self, window: Window, memory: Arrays) -> None:
        """Raise StoreError where a patch of a window differs from its checksum."""
        rows, first = np.unique(self.rows[window.entries], return_index=True)
        waiting = np.flatnonzero(~self.done[rows])
        rows = rows[waiting]
        patches = ([block[offset] for block in memory] for offset in window.offsets[first[waiting]])
        check_patches(self.arrays, self.slots[rows], patches, self.checksums.take(pa.array(rows)))
        self.done[rows] = True


class WindowBuffers:
    """Two buffers of one stream: patches are taken from one while the next window is decoded into the other.

    They are kept from epoch to epoch: new memory for each window would cost more than decoding it, and a split
    of a single window stays decoded.

    Parameters
    ----------
    arrays : sequence of ShardedArray
        Images, and masks if the store has them.
    checks : PatchChecks
    """

    def __init__(self, arrays: Sequence[ShardedArray], checks: PatchChecks) -> None:
        self.arrays, self.checks = arrays, checks
        self.memory: list[Arrays] = [[np.empty((0, *array.shape), array.dtype) for array in arrays] for _ in range(2)]
        self.decoded: list[tuple[tuple[int, int], ...]] = [(), ()]

    def decode(self, pool: ThreadPoolExecutor, window: Window, which: int) -> Arrays:
        """The concatenated spans of a window, for each array (n, …)."""
        if self.decoded[which] == window.spans:
            return self.memory[which]
        self.decoded[which] = ()
        count = sum(high - low for low, high in window.spans)
        work: list[Future[None]] = []
        for number, source in enumerate(self.arrays):
            if len(self.memory[which][number]) < count:
                self.memory[which][number] = np.empty((count, *source.shape), source.dtype)
            filled = 0
            for low, high in (piece for span in window.spans for piece in source.pieces(*span)):
                target = self.memory[which][number][filled : filled + high - low]
                work.append(pool.submit(source.read_into, low, high, target))
                filled += high - low
        for piece in work:
            piece.result()
        self.checks.check(window, self.memory[which])
        self.decoded[which] = window.spans
        return self.memory[which]


class ShardReader:
    """Takes patches from the windows of a stream; the next window is decoded while this one is in use.

    The first `skipped` patches are left out, and windows that hold only such patches are not decoded. With `cropping`
    only a crop of each patch is copied.
    """

    def __init__(
        self,
        buffers: WindowBuffers,
        windows: list[Window],
        pool: ThreadPoolExecutor,
        decoders: ThreadPoolExecutor,
        skipped: int,
        cropping: Cropping | None = None,
    ) -> None:
        self.buffers, self.pool, self.decoders, self.cropping = buffers, pool, decoders, cropping
        while windows and skipped >= len(windows[0].entries):
            skipped -= len(windows[0].entries)
            windows = windows[1:]
        self.skipped = skipped
        self.pending = enumerate(windows)
        self.next = self._decode_next()
        self.window: Window | None = None
        self.memory = buffers.memory[0]
        self.used = 0

    def take(self, count: int) -> Taken:
        """The next `count` entries, and copies of their patches."""
        taken = Taken(
            np.empty(count, np.int64),
            np.zeros((count, 3), np.int64),
            [np.empty((count, *self._shape(array.shape[1:])), array.dtype) for array in self.memory],
        )
        filled = 0
        while filled < count:
            window = self._window()
            end = min(len(window.entries), self.used + count - filled)
            span = slice(filled, filled + end - self.used)
            taken.entries[span] = window.entries[self.used : end]
            self._copy(window.offsets[self.used : end], taken, span)
            filled, self.used = span.stop, end
        return taken

    def _shape(self, patch: tuple[int, ...]) -> tuple[int, ...]:
        return patch if self.cropping is None else (*patch[:-3], *self.cropping.size)

    def _copy(self, offsets: NDArray[np.int64], taken: Taken, span: slice) -> None:
        """Copy the patches at these offsets of the window, or a crop of each."""
        if self.cropping is None:
            for source, target in zip(self.memory, taken.arrays, strict=True):
                np.take(source, offsets, axis=0, out=target[span], mode="clip")
            return
        for number, offset in enumerate(offsets.tolist(), span.start):
            patch = [source[offset] for source in self.memory]
            start = self.cropping.start(int(taken.entries[number]), patch[1] if len(patch) > 1 else None)
            taken.starts[number] = start
            for array, target in zip(patch, taken.arrays, strict=True):
                target[number] = crop(array, start, self.cropping.size)

    def _window(self) -> Window:
        """The window in use, or the next one after its last patch."""
        if self.next is not None and (self.window is None or self.used == len(self.window.entries)):
            self.window, future = self.next
            self.memory, self.used, self.skipped = future.result(), self.skipped, 0
            self.next = self._decode_next()
        if self.window is None:
            raise StoreError(str(self.buffers.arrays[0].folder), "no patches are left in this stream")
        return self.window

    def _decode_next(self) -> tuple[Window, Future[Arrays]] | None:
        number, window = next(self.pending, (0, None))
        if window is None:
            return None
        return window, self.pool.submit(self.buffers.decode, self.decoders, window, number % 2)
