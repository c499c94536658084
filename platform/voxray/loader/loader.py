"""Batches of patches as the store holds them, read ahead in a background thread."""

import os
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
from voxray.loader.crops import Cropping, Crops, Mask, Place, crop
from voxray.loader.sampler import Window, step_counts, stream_shares, stream_windows
from voxray.loader.shard_reader import PatchChecks, ShardReader, WindowBuffers
from voxray.store.read import PatchStore
from voxray.volume import inside_extents

BLOCK_BYTES = 2**24
MIN_BLOCKS = 16  # of a stream, if there are as many chunks: streams differ by one block at most
BATCHES_AHEAD = 4
WINDOWS_IN_MEMORY = 2  # one in use, one being decoded
DECODERS = min(8, len(os.sched_getaffinity(0)))  # threads


@dataclass(frozen=True, eq=False)
class Batch:
    """One rank's part of a global batch.

    Attributes
    ----------
    images : Tensor, (n, channel, x, y, z)
        Patches, or crops of them, in the scan's own intensities and the store's dtype.
    labels : Tensor of int64, (n,)
    rotations : Tensor of int64, (n,)
        Degrees in plane, not yet applied.
    masks : Tensor of uint8, (n, x, y, z), optional
        Label maps, if the store has them.
    inside : Tensor of int64, (n, 2, 3)
        First and end voxel (x, y, z) of the part that lies inside the scan; the rest is padding.
    statistics : Tensor of float64, (n, 6, channel), optional
        Of the whole scans, as `voxray.scans.intensity.STATISTICS` names them, if the store has them.
    rows : ndarray of int, (n,)
        Rows of the split's index.
    positions : ndarray of int, (n,)
        Positions in the global batch.
    step : int
    total : int
        Patches of the global batch. A rank's part may be empty at the end of an epoch.
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
    """Shuffled batches of one split for one rank.

    Whole ranges of the store are read and decoded in the background, and patches are shuffled in a memory buffer, so
    that speed does not depend on random access. The order is a function of (seed, epoch, streams) alone.

    Parameters
    ----------
    store : PatchStore
    split : str
        ``train``, ``val`` or ``test``.
    batch_size : int
        Patches of a global batch, over all ranks.
    rank, ranks : int
        This process and the number of processes.
    streams : int, optional
        Independent readers, at least `ranks` and by default as many. The global batches depend on the streams, and not
        on the number of ranks that share them.
    seed : int
    buffer_bytes : int
        Memory of the shuffle buffer of each stream. A split that fits the buffer of a single stream is decoded once.
    pin : bool
        Put batches into page-locked memory, for a GPU.
    crops : Crops, optional
        Take crops of each patch instead of the patch. An epoch has every crop exactly once.

    Raises
    ------
    ConfigError
        The batch is smaller than the number of streams, or there are fewer streams than ranks.

    Examples
    --------
    >>> loader = PatchLoader(store, "train", 32, seed=0)  # doctest: +SKIP
    >>> for batch in loader.epoch(0):  # doctest: +SKIP
    ...     print(batch.images.shape, batch.labels.shape)
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
        crops: Crops | None = None,
    ) -> None:
        self.streams = streams or ranks
        if self.streams < ranks or batch_size < self.streams:
            problem = f"expected at least one patch for each of {max(ranks, self.streams)} streams, got {batch_size}"
            raise ConfigError("training.batch_size", problem, "Raise it, or lower training.workers")
        self.rank, self.ranks, self.seed, self.pin = rank, ranks, seed, pin
        rows = store.rows(split)
        self.slots: NDArray[np.int64] = rows["slot"].to_numpy()
        self.labels = torch.from_numpy(rows["label"].to_numpy().copy())
        self.rotations = torch.from_numpy(rows["rotation"].to_numpy().astype(np.int64))
        per_chunk, per_patch = store.info.patches_per_chunk, store.info.patch_bytes
        self.block_slots = per_chunk * max(1, BLOCK_BYTES // (per_chunk * per_patch))
        if self.streams > 1 and len(self.slots):
            # A small split would be a single block, and so belong to one stream alone.
            chunks = int(self.slots.max()) // per_chunk + 1
            self.block_slots = min(self.block_slots, per_chunk * max(1, chunks // (self.streams * MIN_BLOCKS)))
        self.window_slots = max(self.block_slots, buffer_bytes // WINDOWS_IN_MEMORY // per_patch)
        self.shares = stream_shares(batch_size, self.streams)
        self.size, self.crops = store.info.size, crops
        self.inside = _inside(rows, store.info.size)
        counts = np.ones(len(self.slots), np.int64) if crops is None else crops.counts(self.inside.numpy())
        self.rows = np.repeat(np.arange(len(self.slots)), counts)  # of each entry
        self.numbers = np.arange(len(self.rows)) - (np.cumsum(counts) - counts)[self.rows]
        self.statistics = _scan_statistics(rows, store.info.channels)
        self.arrays = store.arrays(split)
        checks = PatchChecks(self.arrays, self.slots, rows["checksum"], self.rows)
        self._buffers = {stream: WindowBuffers(self.arrays, checks) for stream in self._own_streams()}

    @property
    def count(self) -> int:
        """Patches of an epoch, over all ranks: the rows of the split, or all their crops."""
        return len(self.rows)

    def steps(self, epoch: int | None) -> NDArray[np.int64]:
        """Patches that each stream gives to each step of an epoch, (steps, streams)."""
        return self._step_counts(self._windows(epoch))

    def read(self, row: int, epoch: int | None = None) -> Batch:
        """One row of the index as a batch; it is read by itself, which decodes its whole chunk.

        Parameters
        ----------
        row : int
        epoch : int, optional
            Of whose crops the first one is returned, where patches are cropped; None returns the whole patch.
        """
        slot = int(self.slots[row])
        arrays = [array.read(slot, slot + 1) for array in self.arrays]
        start = np.zeros((1, 3), np.int64)
        if epoch is not None and self.crops is not None:
            mask = arrays[1][0] if len(arrays) > 1 else None
            start[0] = self.crops.start(self._place(row, 0, epoch), self.size, mask)
            arrays = [crop(array, start[0], self.crops.size) for array in arrays]
        tensors = [self._joined((array,)) for array in arrays]
        return self._batch(0, np.array([row]), start, np.zeros(1, np.int64), tensors, 1)

    def epoch(self, epoch: int | None, first: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from step `first` on, read ahead in the background.

        Parameters
        ----------
        epoch : int, optional
            Number of the epoch, which determines the order; None keeps the order of the index, for evaluation.
        first : int
            Steps to leave out.

        Yields
        ------
        Batch

        Raises
        ------
        StoreError
            A shard cannot be read or decoded.
        """
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

        reader = threading.Thread(target=read, name="patch-loader", daemon=True)
        reader.start()
        try:
            while (item := ready.get()) is not None:
                if isinstance(item, BaseException):
                    raise item
                yield item
        finally:
            stop.set()
            reader.join()

    def _own_streams(self) -> range:
        return range(self.rank, self.streams, self.ranks)

    def _windows(self, epoch: int | None) -> list[list[Window]]:
        slots = self.slots[self.rows]
        return stream_windows(slots, self.streams, self.block_slots, self.window_slots, self.seed, epoch)

    def _step_counts(self, windows: list[list[Window]]) -> NDArray[np.int64]:
        return step_counts([sum(len(window.entries) for window in stream) for stream in windows], self.shares)

    def _batches(self, epoch: int | None, first: int) -> Iterator[Batch]:
        windows = self._windows(epoch)
        counts = self._step_counts(windows)
        offsets = np.cumsum(counts, axis=1) - counts
        skipped = counts[:first].sum(axis=0)
        streams, cropping = self._own_streams(), self._cropping(epoch)
        # Two pools: the tasks of one wait for those of the other.
        with ThreadPoolExecutor(DECODERS) as decoders, ThreadPoolExecutor(len(streams)) as pool:
            readers = [
                ShardReader(self._buffers[stream], windows[stream], pool, decoders, int(skipped[stream]), cropping)
                for stream in streams
            ]
            for step, shares in enumerate(counts[first:], first):
                taken = [reader.take(int(shares[stream])) for reader, stream in zip(readers, streams, strict=True)]
                rows = self.rows[np.concatenate([part.entries for part in taken])]
                starts = np.concatenate([part.starts for part in taken])
                positions = np.concatenate([offsets[step, stream] + np.arange(shares[stream]) for stream in streams])
                tensors = [self._joined(parts) for parts in zip(*(part.arrays for part in taken), strict=True)]
                yield self._batch(step, rows, starts, positions, tensors, int(shares.sum()))

    def _cropping(self, epoch: int | None) -> Cropping | None:
        crops = self.crops
        if crops is None:
            return None

        def start(entry: int, mask: Mask | None) -> NDArray[np.int64]:
            place = self._place(int(self.rows[entry]), int(self.numbers[entry]), epoch or 0)
            return crops.start(place, self.size, mask)

        return Cropping(crops.size, start)

    def _place(self, row: int, number: int, epoch: int) -> Place:
        return Place(epoch, row, number, self.inside[row].numpy())

    def _joined(self, parts: tuple[NDArray[np.generic], ...]) -> torch.Tensor:
        tensor = torch.from_numpy(parts[0] if len(parts) == 1 else np.concatenate(parts))
        return tensor.pin_memory() if self.pin else tensor

    def _batch(
        self,
        step: int,
        rows: NDArray[np.int64],
        starts: NDArray[np.int64],
        positions: NDArray[np.int64],
        tensors: list[torch.Tensor],
        total: int,
    ) -> Batch:
        index = torch.from_numpy(rows)
        inside = self.inside[index] - torch.from_numpy(starts)[:, None]
        size = torch.tensor(tensors[0].shape[2:])
        return Batch(
            images=tensors[0],
            labels=self.labels[index],
            rotations=self.rotations[index],
            masks=tensors[1] if len(tensors) > 1 else None,
            inside=torch.minimum(inside.clamp_(min=0), size),
            statistics=None if self.statistics is None else self.statistics[index],
            rows=rows,
            positions=positions,
            step=step,
            total=total,
        )


def _scan_statistics(rows: pa.Table, channels: int) -> torch.Tensor | None:
    """Statistics of the scan of each row, (rows, 6, channel); None if the store has none."""
    column = rows["statistics"].combine_chunks()
    if not len(column) or column.null_count:
        return None
    # Flattened in Arrow: lists of Python floats would take seconds for a large index.
    values = column.flatten().flatten().to_numpy(zero_copy_only=False)
    return torch.from_numpy(values.reshape(len(column), -1, channels).copy())


def _inside(rows: pa.Table, size: tuple[int, int, int]) -> torch.Tensor:
    """First and end voxel of the part inside the scan, (rows, 2, 3)."""
    columns = [[rows[f"{axis}_{name}"].to_numpy() for axis in "xyz"] for name in ("start", "extent")]
    starts, extents = (np.stack(column, axis=1).astype(np.int64) for column in columns)
    return torch.from_numpy(inside_extents(starts, extents, size))
