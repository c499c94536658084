"""Batches of patches in the store's own numbers, read ahead by a thread of its own."""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import zarr
from numpy.typing import NDArray
from zarr.core.buffer import default_buffer_prototype

from voxray.errors import ConfigError, StoreError
from voxray.feed.order import Window, lane_shares, lane_windows, step_counts
from voxray.store.read import PatchStore

RUN_BYTES = 2**24
BATCHES_AHEAD = 4
ND_BUFFER = default_buffer_prototype().nd_buffer
WINDOWS_AT_A_TIME = 2  # one in use, one being decoded


@dataclass(frozen=True, eq=False)
class Batch:
    """One rank's part of a global batch.

    Attributes
    ----------
    images : Tensor, (n, channel, x, y, z)
        In the store's own numbers.
    labels : Tensor of int64, (n,)
    rotations : Tensor of int64, (n,)
        Degrees in plane, still to be applied.
    rows : ndarray of int, (n,)
        Rows of the split's index.
    positions : ndarray of int, (n,)
        Places in the global batch.
    step : int
    total : int
        Patches of the global batch. A rank's own part may be empty at the end of an epoch.
    """

    images: torch.Tensor
    labels: torch.Tensor
    rotations: torch.Tensor
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    step: int
    total: int


class Feed:
    """The batches of one split for one rank.

    Parameters
    ----------
    store : PatchStore
    split : str
    batch_size : int
        Of all ranks together.
    rank, ranks : int
    lanes : int, optional
        A multiple of `ranks`; by default `ranks`.
    seed : int
    buffer_bytes : int
        Memory of the shuffle buffer of this rank. A split that fits into it is decoded only once.
    pin : bool
        Put batches into page-locked memory, for a GPU.
    """

    def __init__(
        self,
        store: PatchStore,
        split: str,
        batch_size: int,
        *,
        rank: int = 0,
        ranks: int = 1,
        lanes: int | None = None,
        seed: int = 0,
        buffer_bytes: int = 2**28,
        pin: bool = False,
    ) -> None:
        self.lanes = lanes or ranks
        if self.lanes % ranks or batch_size < self.lanes:
            problem = f"{batch_size} patches in {self.lanes} lanes for {ranks} workers do not go together"
            raise ConfigError("training.batch_size", problem, "Take a batch of at least as many patches as workers")
        self.rank, self.ranks, self.seed, self.pin = rank, ranks, seed, pin
        rows = store.rows(split)
        self.slots: NDArray[np.int64] = rows["slot"].to_numpy()
        self.labels = torch.from_numpy(rows["label"].to_numpy().copy())
        self.rotations = torch.from_numpy(rows["rotation"].to_numpy().astype(np.int64))
        per_chunk, per_patch = store.info.patches_per_chunk, store.info.patch_bytes
        self.run_slots = per_chunk * max(1, RUN_BYTES // (per_chunk * per_patch))
        self.window_slots = max(self.run_slots, buffer_bytes * ranks // self.lanes // WINDOWS_AT_A_TIME // per_patch)
        self.shares = lane_shares(batch_size, self.lanes)
        images = store.open_images(split)
        self._buffers = {lane: _WindowBuffers(images, f"{store.path}/{split}") for lane in self._own_lanes()}

    @property
    def count(self) -> int:
        """Rows of the split, over all ranks."""
        return len(self.slots)

    def steps(self, epoch: int | None) -> NDArray[np.int64]:
        """Patches that each lane gives to each step of an epoch, (steps, lanes)."""
        return step_counts([sum(len(w.rows) for w in lane) for lane in self._windows(epoch)], self.shares)

    def epoch(self, epoch: int | None) -> Iterator[Batch]:
        """The batches of an epoch, read ahead in the background; None keeps the order of the index."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(BATCHES_AHEAD)
        stop = threading.Event()

        def put(item: Batch | BaseException | None) -> None:
            while not stop.is_set():
                with suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    return

        def read() -> None:
            try:
                for batch in self._batches(epoch):
                    put(batch)
                    if stop.is_set():
                        return
                put(None)
            except BaseException as error:  # noqa: BLE001  handed to the consumer, which raises it
                put(error)

        reader = threading.Thread(target=read, name="feed", daemon=True)
        reader.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            reader.join()

    def _own_lanes(self) -> range:
        return range(self.rank, self.lanes, self.ranks)

    def _windows(self, epoch: int | None) -> list[list[Window]]:
        return lane_windows(self.slots, self.lanes, self.run_slots, self.window_slots, self.seed, epoch)

    def _batches(self, epoch: int | None) -> Iterator[Batch]:
        windows = self._windows(epoch)
        counts = step_counts([sum(len(w.rows) for w in lane) for lane in windows], self.shares)
        offsets = np.cumsum(counts, axis=1) - counts
        mine = self._own_lanes()
        with ThreadPoolExecutor(len(mine)) as pool:
            readers = [_LaneReader(self._buffers[lane], windows[lane], pool) for lane in mine]
            for step, shares in enumerate(counts):
                taken = [reader.take(int(shares[lane])) for reader, lane in zip(readers, mine, strict=True)]
                rows = np.concatenate([rows for rows, _ in taken])
                positions = np.concatenate([offsets[step, lane] + np.arange(shares[lane]) for lane in mine])
                yield self._batch(step, rows, positions, [patches for _, patches in taken], int(shares.sum()))

    def _batch(
        self,
        step: int,
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
        images: list[NDArray[np.generic]],
        total: int,
    ) -> Batch:
        tensor = torch.from_numpy(images[0] if len(images) == 1 else np.concatenate(images))
        index = torch.from_numpy(rows)
        labels, rotations = self.labels[index], self.rotations[index]
        if self.pin:
            tensor = tensor.pin_memory()
        return Batch(tensor, labels, rotations, rows, positions, step, total)


class _WindowBuffers:
    """Two buffers of one lane: a window is used from one while the next is decoded into the other.

    They last from epoch to epoch: fresh memory for each window would cost more than decoding it, and a split
    that is one window stays decoded.
    """

    def __init__(self, images: zarr.Array[Any], where: str) -> None:
        self.images, self.where = images, where
        self.arrays: list[NDArray[np.generic]] = [np.empty((0, *images.shape[1:]), images.dtype) for _ in range(2)]
        self.holds: list[tuple[tuple[int, int], ...]] = [(), ()]

    def decode(self, window: Window, which: int) -> NDArray[np.generic]:
        """The stretches of a window put end to end, (n, channel, x, y, z)."""
        if self.holds[which] == window.runs:
            return self.arrays[which]
        self.holds[which] = ()
        count = sum(high - low for low, high in window.runs)
        if len(self.arrays[which]) < count:
            self.arrays[which] = np.empty((count, *self.images.shape[1:]), self.images.dtype)
        filled = 0
        for low, high in window.runs:
            part = self.arrays[which][filled : filled + high - low]
            try:
                self.images.get_basic_selection(slice(low, high), out=ND_BUFFER.from_numpy_array(part))
            except (RuntimeError, ValueError, OSError) as error:
                problem = f"a shard cannot be decoded: {error}"
                raise StoreError(self.where, problem, "Delete the store and ingest again") from error
            filled += high - low
        self.holds[which] = window.runs
        return self.arrays[which]


class _LaneReader:
    """Takes patches from the windows of a lane; the next window is decoded while this one is used up."""

    def __init__(self, buffers: _WindowBuffers, windows: list[Window], pool: ThreadPoolExecutor) -> None:
        self.buffers, self.pool = buffers, pool
        self.waiting = enumerate(windows)
        self.next = self._start()
        self.window: Window | None = None
        self.buffer = buffers.arrays[0]
        self.used = 0

    def take(self, count: int) -> tuple[NDArray[np.int64], NDArray[np.generic]]:
        """The next `count` rows and a copy of their patches."""
        patches = np.empty((count, *self.buffer.shape[1:]), self.buffer.dtype)
        rows = np.empty(count, np.int64)
        filled = 0
        while filled < count:
            window = self._window()
            end = min(len(window.rows), self.used + count - filled)
            span = slice(filled, filled + end - self.used)
            rows[span] = window.rows[self.used : end]
            np.take(self.buffer, window.places[self.used : end], axis=0, out=patches[span], mode="clip")
            filled, self.used = span.stop, end
        return rows, patches

    def _window(self) -> Window:
        """The window in use, or the next one where that is used up."""
        if self.window is None or self.used == len(self.window.rows):
            if self.next is None:
                raise StopIteration
            self.window, future = self.next
            self.buffer, self.used = future.result(), 0
            self.next = self._start()
        return self.window

    def _start(self) -> tuple[Window, Future[NDArray[np.generic]]] | None:
        number, window = next(self.waiting, (0, None))
        return None if window is None else (window, self.pool.submit(self.buffers.decode, window, number % 2))
