"""Reading one stream: windows are decoded into reused buffers, patches are taken from them in order."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype

from voxray.errors import StoreError
from voxray.loader.sampler import Window
from voxray.storage.paths import is_storage_error, storage_failure

ND_BUFFER = default_buffer_prototype().nd_buffer

Arrays = list[NDArray[np.generic]]


class WindowBuffers:
    """Two buffers of one stream: patches are taken from one while the next window is decoded into the other.

    They are kept from epoch to epoch: new memory for each window would cost more than decoding it, and a split
    of a single window stays decoded.

    Parameters
    ----------
    arrays : sequence of zarr.Array
        Images, and masks if the store has them; the first axis is the slot.
    where : str
        What errors name.
    """

    def __init__(self, arrays: Sequence[zarr.Array[Any]], where: str) -> None:
        self.arrays, self.where = arrays, where
        self.memory: list[Arrays] = [
            [np.empty((0, *array.shape[1:]), array.dtype) for array in arrays] for _ in range(2)
        ]
        self.decoded: list[tuple[tuple[int, int], ...]] = [(), ()]

    def decode(self, window: Window, which: int) -> Arrays:
        """The concatenated spans of a window, for each array (n, …)."""
        if self.decoded[which] == window.spans:
            return self.memory[which]
        self.decoded[which] = ()
        count = sum(high - low for low, high in window.spans)
        for number, source in enumerate(self.arrays):
            if len(self.memory[which][number]) < count:
                self.memory[which][number] = np.empty((count, *source.shape[1:]), source.dtype)
            self._read(source, window.spans, self.memory[which][number])
        self.decoded[which] = window.spans
        return self.memory[which]

    def _read(self, source: zarr.Array[Any], spans: tuple[tuple[int, int], ...], target: NDArray[np.generic]) -> None:
        filled = 0
        for low, high in spans:
            part = target[filled : filled + high - low]
            try:
                source.get_basic_selection(slice(low, high), out=ND_BUFFER.from_numpy_array(part))
            except Exception as error:
                if is_storage_error(error, self.where):
                    raise storage_failure(self.where, error) from error
                if not isinstance(error, RuntimeError | ValueError | OSError):
                    raise
                problem = f"a shard cannot be decoded: {error}"
                raise StoreError(self.where, problem, "Delete the store and ingest again") from error
            filled += high - low


class ShardReader:
    """Takes patches from the windows of a stream; the next window is decoded while this one is in use.

    The first `skipped` patches are left out, and windows that hold only such patches are not decoded.
    """

    def __init__(self, buffers: WindowBuffers, windows: list[Window], pool: ThreadPoolExecutor, skipped: int) -> None:
        self.buffers, self.pool = buffers, pool
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
            raise StoreError(self.buffers.where, "no patches are left in this stream")
        return self.window

    def _decode_next(self) -> tuple[Window, Future[Arrays]] | None:
        number, window = next(self.pending, (0, None))
        return None if window is None else (window, self.pool.submit(self.buffers.decode, window, number % 2))
