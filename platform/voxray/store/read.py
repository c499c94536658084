"""Read a finished store. Imports neither torch nor a library that decodes scans."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.datasets.manifest import QUARANTINE
from voxray.errors import NotReadyError, StoreError
from voxray.storage.paths import AnyPath, exists, list_once
from voxray.store.checksum import patch_checksum
from voxray.store.layout import (
    IMAGES,
    INDEX,
    INDEX_FILE,
    MASKS,
    QUARANTINE_FILE,
    REPAIR,
    StoreInfo,
    shard_file,
)
from voxray.store.metadata import open_array, read_info
from voxray.store.sharded import ShardedArray
from voxray.store.tables import joined_digest, read_table, table_checksum

if TYPE_CHECKING:
    import zarr


@dataclass(frozen=True, eq=False)
class PatchStore:
    """A finished store, open for reading.

    Attributes
    ----------
    path : path
    info : StoreInfo
    index : pyarrow.Table
        Schema INDEX; with added rows also ``round``, 2 for those.
    quarantine : pyarrow.Table
    added : path, optional
        The folder of rows that were added for a second round of training, see `voxray.store.added`.
    """

    path: AnyPath
    info: StoreInfo
    index: pa.Table
    quarantine: pa.Table
    added: AnyPath | None = None

    @cached_property
    def content_digest(self) -> str:
        """A digest of the index: of the place, label, patient and checksum of every patch."""
        return table_checksum(self.index)

    def rows(self, split: str) -> pa.Table:
        """The index rows of one split; only those of training say their round."""
        rows = self.index.filter(pc.equal(self.index["split"], split)).combine_chunks()
        return rows if split == "train" else rows.select(INDEX.names)

    def arrays(self, split: str) -> list[ShardedArray]:
        """The patches of one split, (channel, x, y, z) each, and their label maps, (x, y, z), if ``info.masks``."""
        written = pc.unique(self.rows(split)["shard"]).to_pylist()
        arrays = open_shards(self.path, self.info, split, written)
        if self.added is None:
            return arrays
        first = self.info.shards.get(split, 0)
        return [replace(array, added=(first, self.added / split / array.folder.name)) for array in arrays]

    def open_images(self, split: str) -> "zarr.Array[Any]":
        """The patches of one split as a Zarr array: (slot, channel, x, y, z)."""
        return open_array(self.path, self.info, f"{split}/{IMAGES}")

    def open_masks(self, split: str) -> "zarr.Array[Any]":
        """The label maps of one split as a Zarr array: (slot, x, y, z). Only where ``info.masks``."""
        return open_array(self.path, self.info, f"{split}/{MASKS}")

    def read_patches(self, split: str, slots: NDArray[np.int64]) -> NDArray[np.generic]:
        """A few patches by slot, (n, channel, x, y, z); slow, for pictures."""
        images = self.arrays(split)[0]
        patches = [images.read(int(slot), int(slot) + 1) for slot in slots]
        return np.concatenate([np.empty((0, *self.info.patch_shape), self.info.dtype), *patches])


def open_shards(path: AnyPath, info: StoreInfo, split: str, written: Iterable[int]) -> list[ShardedArray]:
    """The arrays of one split, of which some shards were written; the store need not be finished."""
    shapes: dict[str, tuple[tuple[int, ...], str]] = {IMAGES: (info.patch_shape, info.dtype)}
    if info.masks:
        shapes[MASKS] = (info.size, "uint8")
    counts, shards = (info.patches_per_chunk, info.patches_per_shard), frozenset(written)
    return [
        ShardedArray(path / split / name, shape, np.dtype(dtype), *counts, shards)
        for name, (shape, dtype) in shapes.items()
    ]


def open_store(path: AnyPath) -> PatchStore:
    """Open a finished store.

    Raises
    ------
    StoreError
        A shard is missing, or the index cannot be read.
    """
    info = read_info(path)
    if info is None:
        raise NotReadyError(str(path), "no patch store is here", "Run voxray ingest first")
    if not exists(path / INDEX_FILE):
        raise NotReadyError(str(path), "the store is not finished: it has no index", "Run voxray ingest again")
    index = read_table(path / INDEX_FILE, INDEX, info.digest)
    quarantine = read_table(path / QUARANTINE_FILE, QUARANTINE, joined_digest(info.digest, index))
    _check_shards_exist(path, index, {IMAGES: 5, MASKS: 4} if info.masks else {IMAGES: 5})
    return PatchStore(path, info, index, quarantine)


def _check_shards_exist(path: AnyPath, index: pa.Table, arrays: Mapping[str, int]) -> None:
    """Zarr reads a missing file as zeros, which would be trained on; `arrays` are name → dimensions."""
    path = list_once(path)
    for row in index.group_by(["split", "shard"]).aggregate([("label", "max")]).to_pylist():
        for name, ndim in arrays.items():
            file = shard_file(path / row["split"] / name, row["shard"], ndim)
            if not exists(file):
                raise StoreError(str(file), "this shard is missing", REPAIR)


def check_store(store: PatchStore) -> Iterator[str]:
    """Read every patch and compare it with its checksum; yields each shard that is intact.

    Raises
    ------
    StoreError
        A shard is damaged, or a patch differs.
    """
    for split, shards in store.info.shards.items():
        arrays, rows = store.arrays(split), store.rows(split)
        rows = rows.filter(pc.equal(rows["rotation"], 0))
        for shard in range(shards):
            check_shard(arrays, rows.filter(pc.equal(rows["shard"], shard)))
            yield f"{split} shard {shard}"


def check_shard(arrays: Sequence[ShardedArray], rows: pa.Table) -> None:
    """Read the patches of one shard and compare them with the checksums of their index rows.

    Raises
    ------
    StoreError
        The shard is damaged, or a patch differs.
    """
    if not rows.num_rows:
        return
    slots = rows["slot"].to_numpy()
    low, high = int(slots.min()), int(slots.max()) + 1
    blocks = [array.read(low, high) for array in arrays]
    check_patches(arrays, slots, [[block[slot - low] for block in blocks] for slot in slots], rows["checksum"])


def check_patches(
    arrays: Sequence[ShardedArray],
    slots: NDArray[np.int64],
    patches: Iterable[Sequence[NDArray[np.generic]]],
    checksums: pa.ChunkedArray,
) -> None:
    """Raise StoreError where a patch, an image and perhaps a mask, differs from the checksum of its index row."""
    for slot, patch, checksum in zip(slots.tolist(), patches, checksums.to_pylist(), strict=True):
        if patch_checksum(*patch) != checksum:
            where = " or ".join(str(array.file(slot)) for array in arrays)
            raise StoreError(where, f"the voxels of slot {slot} differ from their checksum in the index", REPAIR)
