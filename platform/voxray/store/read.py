"""Read a finished store. Imports neither torch nor a library that decodes scans."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import zarr
from numpy.typing import NDArray

from voxray.errors import NotReadyError, StoreError
from voxray.storage.paths import AnyPath, exists, list_once
from voxray.store.checksum import patch_checksum
from voxray.store.layout import (
    IMAGES,
    INDEX_FILE,
    MASKS,
    QUARANTINE_FILE,
    StoreInfo,
    read_info,
    read_parquet,
    shard_file,
    zarr_store,
)

RUST_PIPELINE = "zarrs.ZarrsCodecPipeline"


@dataclass(frozen=True, eq=False)
class PatchStore:
    """A finished store, open for reading."""

    path: AnyPath
    info: StoreInfo
    index: pa.Table
    quarantine: pa.Table

    def rows(self, split: str) -> pa.Table:
        """The index rows of one split."""
        return self.index.filter(pc.equal(self.index["split"], split)).combine_chunks()

    def open_images(self, split: str) -> zarr.Array[Any]:
        """The patches of one split, lazily: (slot, channel, x, y, z)."""
        return self._open(split, IMAGES)

    def open_masks(self, split: str) -> zarr.Array[Any]:
        """The label maps of one split, lazily: (slot, x, y, z). Only where ``info.masks``."""
        return self._open(split, MASKS)

    def _open(self, split: str, name: str) -> zarr.Array[Any]:
        # Many chunks at once decode several times faster in the Rust pipeline than in the default one.
        with zarr.config.set({"codec_pipeline.path": RUST_PIPELINE}):
            return zarr.open_array(zarr_store(self.path / split / name), mode="r", zarr_format=3)

    def read_patches(self, split: str, slots: NDArray[np.int64]) -> NDArray[np.generic]:
        """A few patches by slot, (n, channel, x, y, z); slow, for pictures."""
        images = self.open_images(split)
        patches = np.array([images[int(slot)] for slot in slots], self.info.dtype)
        return patches.reshape(len(slots), *self.info.patch_shape)


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
    index, quarantine = _read_table(path / INDEX_FILE), _read_table(path / QUARANTINE_FILE)
    _check_shards_exist(path, index, {IMAGES: 5, MASKS: 4} if info.masks else {IMAGES: 5})
    return PatchStore(path, info, index, quarantine)


def _read_table(path: AnyPath) -> pa.Table:
    try:
        return read_parquet(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise StoreError(str(path), f"cannot be read: {error}", "Delete the store and ingest again") from None


def _check_shards_exist(path: AnyPath, index: pa.Table, arrays: Mapping[str, int]) -> None:
    """Zarr reads a missing file as zeros, which would be trained on; `arrays` are name → dimensions."""
    path = list_once(path)
    for row in index.group_by(["split", "shard"]).aggregate([("label", "max")]).to_pylist():
        for name, ndim in arrays.items():
            file = shard_file(path / row["split"] / name, row["shard"], ndim)
            if not exists(file):
                raise StoreError(str(file), "this shard is missing", "Delete the store and ingest again")


def check_store(store: PatchStore) -> Iterator[str]:
    """Read every patch and compare it with its checksum; yields each shard that is intact.

    Raises
    ------
    StoreError
        A patch differs.
    """
    for split, shards in store.info.shards.items():
        arrays, rows = [store.open_images(split)], store.rows(split)
        if store.info.masks:
            arrays.append(store.open_masks(split))
        rows = rows.filter(pc.equal(rows["rotation"], 0))
        for shard in range(shards):
            first = shard * store.info.patches_per_shard
            blocks = [np.asarray(array[first : first + store.info.patches_per_shard]) for array in arrays]
            for row in rows.filter(pc.equal(rows["shard"], shard)).select(["slot", "checksum", "path"]).to_pylist():
                if patch_checksum(*(block[row["slot"] - first] for block in blocks)) != row["checksum"]:
                    where = f"{store.path}/{split} slot {row['slot']} ({row['path']})"
                    problem = "the voxels differ from their checksum"
                    raise StoreError(where, problem, "Delete the store and ingest again")
            yield f"{split} shard {shard}"
