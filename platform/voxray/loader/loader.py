"""Batches of patches in the store's own numbers, read ahead by a thread of its own."""

import queue
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from voxray.errors import ConfigError
from voxray.loader.sampler import Window, step_counts, stream_shares, stream_windows
from voxray.loader.shard_reader import ShardReader, WindowBuffers
from voxray.store.read import PatchStore

RUN_BYTES = 2**24
RUNS_A_LANE = 16  # at least, as far as there are chunks: lanes differ by one run at most
BATCHES_AHEAD = 4
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
    masks : Tensor of uint8, (n, x, y, z), optional
        Label maps, where the store has them.
    inside : Tensor of int64, (n, 2, 3)
        First voxel and end of what lies inside the scan, x, y, z; the rest is padding.
    statistics : Tensor of float64, (n, 6, channel), optional
        Of the whole scans, as `voxray.scans.intensity.STATISTICS` names them; where the store has them.
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
    masks: torch.Tensor | None
    inside: torch.Tensor
    statistics: torch.Tensor | None
    rows: NDArray[np.int64]
    positions: NDArray[np.int64]
    step: int
    total: int


class PatchLoader:
    """The batches of one split for one rank.

    Parameters
    ----------
    store : PatchStore
    split : str
    batch_size : int
        Of all ranks together.
    rank, ranks : int
    lanes : int, optional
        At least `ranks`, by default as many. The global batches depend on them, and not on the ranks that share them.
    seed : int
    buffer_bytes : int
        Memory of the shuffle buffer of each lane. A split that fits into that of the only lane is decoded only once.
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
        streams: int | None = None,
        seed: int = 0,
        buffer_bytes: int = 2**28,
        pin: bool = False,
    ) -> None:
        self.streams = streams or ranks
        if self.streams < ranks or batch_size < self.streams:
            problem = f"{batch_size} patches in {self.streams} lanes for {ranks} workers do not go together"
            raise ConfigError("training.batch_size", problem, "Take a batch of at least as many patches as workers")
        self.rank, self.ranks, self.seed, self.pin = rank, ranks, seed, pin
        rows = store.rows(split)
        self.slots: NDArray[np.int64] = rows["slot"].to_numpy()
        self.labels = torch.from_numpy(rows["label"].to_numpy().copy())
        self.rotations = torch.from_numpy(rows["rotation"].to_numpy().astype(np.int64))
        per_chunk, per_patch = store.info.patches_per_chunk, store.info.patch_bytes
        self.run_slots = per_chunk * max(1, RUN_BYTES // (per_chunk * per_patch))
        if self.streams > 1 and len(self.slots):
            # A small split would be one run, and so one lane's alone.
            chunks = int(self.slots.max()) // per_chunk + 1
            self.run_slots = min(self.run_slots, per_chunk * max(1, chunks // (self.streams * RUNS_A_LANE)))
        self.window_slots = max(self.run_slots, buffer_bytes // WINDOWS_AT_A_TIME // per_patch)
        self.shares = stream_shares(batch_size, self.streams)
        self.inside = _inside(rows, store.info.size)
        known = rows.num_rows > 0 and rows["statistics"].null_count == 0
        self.statistics = torch.tensor(rows["statistics"].to_pylist(), dtype=torch.float64) if known else None
        arrays = [store.open_images(split), *([store.open_masks(split)] if store.info.masks else [])]
        self._buffers = {stream: WindowBuffers(arrays, f"{store.path}/{split}") for stream in self._own_lanes()}

    @property
    def count(self) -> int:
        """Rows of the split, over all ranks."""
        return len(self.slots)

    def steps(self, epoch: int | None) -> NDArray[np.int64]:
        """Patches that each lane gives to each step of an epoch, (steps, lanes)."""
        return step_counts([sum(len(w.rows) for w in stream) for stream in self._windows(epoch)], self.shares)

    def epoch(self, epoch: int | None, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `first`, read ahead in the background; None keeps the index's order."""
        ready: queue.Queue[Batch | BaseException | None] = queue.Queue(BATCHES_AHEAD)
        stop = threading.Event()

        def put(item: Batch | BaseException | None) -> None:
            while not stop.is_set():
                with suppress(queue.Full):
                    ready.put(item, timeout=0.1)
                    return

        def read() -> None:
            try:
                for batch in self._batches(epoch, first):
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
        return range(self.rank, self.streams, self.ranks)

    def _windows(self, epoch: int | None) -> list[list[Window]]:
        return stream_windows(self.slots, self.streams, self.run_slots, self.window_slots, self.seed, epoch)

    def _batches(self, epoch: int | None, first: int) -> Iterator[Batch]:
        windows = self._windows(epoch)
        counts = step_counts([sum(len(w.rows) for w in stream) for stream in windows], self.shares)
        offsets = np.cumsum(counts, axis=1) - counts
        skipped = counts[:first].sum(axis=0)
        mine = self._own_lanes()
        with ThreadPoolExecutor(len(mine)) as pool:
            readers = [
                ShardReader(self._buffers[stream], windows[stream], pool, int(skipped[stream])) for stream in mine
            ]
            for step, shares in enumerate(counts[first:], first):
                taken = [reader.take(int(shares[stream])) for reader, stream in zip(readers, mine, strict=True)]
                rows = np.concatenate([rows for rows, _ in taken])
                positions = np.concatenate([offsets[step, stream] + np.arange(shares[stream]) for stream in mine])
                tensors = [self._joined(parts) for parts in zip(*(patches for _, patches in taken), strict=True)]
                yield self._batch(step, rows, positions, tensors, int(shares.sum()))

    def _joined(self, parts: tuple[NDArray[np.generic], ...]) -> torch.Tensor:
        tensor = torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return tensor.pin_memory() if self.pin else tensor

    def _batch(
        self,
        step: int,
        rows: NDArray[np.int64],
        positions: NDArray[np.int64],
        tensors: list[torch.Tensor],
        total: int,
    ) -> Batch:
        index = torch.from_numpy(rows)
        return Batch(
            images=tensors[0],
            labels=self.labels[index],
            rotations=self.rotations[index],
            masks=tensors[1] if len(tensors) > 1 else None,
            inside=self.inside[index],
            statistics=None if self.statistics is None else self.statistics[index],
            rows=rows,
            positions=positions,
            step=step,
            total=total,
        )


def _inside(rows: pa.Table, size: tuple[int, int, int]) -> torch.Tensor:
    """First voxel and end of what lies inside the scan, (rows, 2, 3)."""
    columns = [[rows[f"{axis}_{what}"].to_numpy() for axis in "xyz"] for what in ("start", "extent")]
    starts, extents = (np.stack(each, axis=1).astype(np.int64) for each in columns)
    low, high = np.maximum(-starts, 0), np.minimum(extents - starts, size)
    return torch.from_numpy(np.stack([low, high], axis=1))
