"""Opening a finished store."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import zarr
from numpy.typing import NDArray

from voxray.errors import StoreError
from voxray.store.layout import INDEX_FILE, QUARANTINE_FILE, StoreInfo, read_info
from voxray.store.write import voxel_checksum

RUST_PIPELINE = "zarrs.ZarrsCodecPipeline"


@dataclass(frozen=True, eq=False)
class PatchStore:
    """A finished store, open for reading.

    Attributes
    ----------
    path : Path
    info : StoreInfo
    index, quarantine : pyarrow.Table
    """

    path: Path
    info: StoreInfo
    index: pa.Table
    quarantine: pa.Table

    def rows(self, split: str) -> pa.Table:
        """The index rows of one split."""
        return self.index.filter(pc.equal(self.index["split"], split)).combine_chunks()

    def open_images(self, split: str) -> zarr.Array[Any]:
        """The patches of one split, lazily: (slot, channel, x, y, z)."""
        # Whole runs of chunks decode several times faster through the Rust pipeline than through the default one.
        with zarr.config.set({"codec_pipeline.path": RUST_PIPELINE}):
            return zarr.open_array(str(self.path / split / "image"), mode="r", zarr_format=3)

    def read_patches(self, split: str, slots: NDArray[np.int64]) -> NDArray[np.generic]:
        """A few patches by slot, (n, channel, x, y, z); for pictures, not for training."""
        images = self.open_images(split)
        if len(slots) == 0:
            return np.empty((0, *self.info.patch_shape), self.info.dtype)
        return np.stack([np.asarray(images[int(slot)]) for slot in slots])


def open_store(path: Path) -> PatchStore:
    """Open a finished store.

    Raises
    ------
    StoreError
        There is none, or it is not finished.
    """
    info = read_info(path)
    if info is None:
        raise StoreError(str(path), "no patch store is here", "Run voxray ingest first")
    if not (path / INDEX_FILE).exists():
        raise StoreError(str(path), "the store is not finished: it has no index", "Run voxray ingest again")
    index = pq.read_table(path / INDEX_FILE)
    _check_shards_exist(path, index)
    return PatchStore(path, info, index, pq.read_table(path / QUARANTINE_FILE))


def _check_shards_exist(path: Path, index: pa.Table) -> None:
    """Zarr reads a missing file as zeros; a patch of zeros would be trained on without a word."""
    for row in index.group_by(["split", "shard"]).aggregate([("label", "max")]).to_pylist():
        file = path / row["split"] / "image" / "c" / str(row["shard"]) / "0" / "0" / "0" / "0"
        if not file.exists():
            raise StoreError(str(file), "this shard is missing", "Delete the store and ingest again")


def check_store(store: PatchStore) -> Iterator[str]:
    """Read every patch and compare it with its checksum; yields the shards as they pass.

    Raises
    ------
    StoreError
        At the first patch that differs.
    """
    for split, shards in store.info.shards.items():
        images, rows = store.open_images(split), store.rows(split)
        rows = rows.filter(pc.equal(rows["rotation"], 0))
        for shard in range(shards):
            first = shard * store.info.patches_per_shard
            block = np.asarray(images[first : first + store.info.patches_per_shard])
            for row in rows.filter(pc.equal(rows["shard"], shard)).select(["slot", "checksum", "path"]).to_pylist():
                if voxel_checksum(block[row["slot"] - first]) != row["checksum"]:
                    where = f"{store.path}/{split} slot {row['slot']} ({row['path']})"
                    raise StoreError(
                        where, "the voxels differ from their checksum", "Delete the store and ingest again"
                    )
            yield f"{split} shard {shard}"
