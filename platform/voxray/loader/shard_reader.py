"""Reading one stream: windows are decoded into reused buffers, patches are taken from them in order."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.errors import StoreError
from voxray.loader.sampler import Window
from voxray.store.read import check_patches
from voxray.store.sharded import ShardedArray

Arrays = list[NDArray[np.generic]]


class PatchChecks:
    """Compares each patch with its checksum in the index when it is decoded for the first time.

    The checksums of chunks, which every decoding compares, cannot tell a shard of another store or of older scans.

    Parameters
    ----------
    arrays : sequence of ShardedArray
        Images, and masks if the store has them.
    slots : ndarray of int, (rows,)
    checksums : pyarrow.ChunkedArray of str, (rows,)
    """

    def __init__(self, arrays: Sequence[ShardedArray], slots: NDArray[np.int64], checksums: pa.ChunkedArray) -> None:
        self.arrays, self.slots, self.checksums = arrays, slots, checksums
        self.done = np.zeros(len(slots), np.bool_)

    def check(self, window: Window, memory: Arrays) -> None:
        """Raise StoreError where a patch of a window differs from its checksum."""
        waiting = np.flatnonzero(~self.done[window.rows])
        rows = window.rows[waiting]
        patches = ([block[offset] for block in memory] for offset in window.offsets[waiting])
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

    The first `skipped` patches are left out, and windows that hold only such patches are not decoded.
    """

    def __init__(
        self,
        buffers: WindowBuffers,
        windows: list[Window],
        pool: ThreadPoolExecutor,
        decoders: ThreadPoolExecutor,
        skipped: int,
    ) -> None:
        self.buffers, self.pool, self.decoders = buffers, pool, decoders
        while windows and skipped >= len(windows[0].rows):
            skipped -= len(windows[0].rows)
            windows = windows[1:]
        self.skipped = skipped
        self.pending = enumerate(windows)
        self.next = self._decode_next()
        self.window: Window | None = None
        self.memory = buffers.memory[0]
        self.used = 0

    def take(self, count: int) -> tuple[NDArray[np.int64], Arrays]:
        """The next `count` rows, and copies of their patches from each array."""
        taken = [np.empty((count, *array.shape[1:]), array.dtype) for array in self.memory]
        rows = np.empty(count, np.int64)
        filled = 0
        while filled < count:
            window = self._window()
            end = min(len(window.rows), self.used + count - filled)
            span = slice(filled, filled + end - self.used)
            rows[span] = window.rows[self.used : end]
            for source, target in zip(self.memory, taken, strict=True):
                np.take(source, window.offsets[self.used : end], axis=0, out=target[span], mode="clip")
            filled, self.used = span.stop, end
        return rows, taken

    def _window(self) -> Window:
        """The window in use, or the next one after its last patch."""
        if self.next is not None and (self.window is None or self.used == len(self.window.rows)):
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
