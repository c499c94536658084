"""What a store looks like on disk: names, schemas, arrays."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import zarr
from zarr.codecs import BloscCodec

from voxray.errors import StoreError

FORMAT = "voxray-patch-store"
VERSION = 1
INDEX_FILE = "index.parquet"
QUARANTINE_FILE = "quarantine.parquet"
PARTS_FOLDER = "parts"
PLAN_FILE = "plan.parquet"

INDEX = pa.schema(
    [
        ("split", pa.string()),
        ("slot", pa.int64()),  # row of the split's array
        ("shard", pa.int32()),
        ("rotation", pa.int16()),  # degrees in plane, applied when the patch is read
        ("label", pa.int64()),
        ("scan_id", pa.string()),
        ("patient_id", pa.string()),
        ("path", pa.string()),
        ("row", pa.int64()),
        ("x_start", pa.int32()),  # box in voxels of the canonical volume
        ("y_start", pa.int32()),
        ("z_start", pa.int32()),
        ("x_mm", pa.float64()),  # centre, world RAS
        ("y_mm", pa.float64()),
        ("z_mm", pa.float64()),
        ("checksum", pa.string()),  # of the patch's voxels
        ("scan_checksum", pa.string()),  # of the scan's middle
    ]
)


@dataclass(frozen=True)
class StoreInfo:
    """The attributes of the store's root group.

    Attributes
    ----------
    classes : tuple of str
    size : tuple of int
        Voxels of a patch, x, y, z.
    channels : int
    dtype : str
    patches_per_chunk, patches_per_shard : int
    shards : dict of str to int
        Number of shards of each split.
    scans : int
        Scans that were planned for.
    digest : str
        Name of the recipe.
    recipe : dict
        Everything that the content depends on.
    notes : tuple of str
        How the data set was understood.
    """

    classes: tuple[str, ...]
    size: tuple[int, int, int]
    channels: int
    dtype: str
    patches_per_chunk: int
    patches_per_shard: int
    shards: Mapping[str, int]
    scans: int
    digest: str
    recipe: Mapping[str, Any]
    notes: tuple[str, ...]

    @property
    def patch_shape(self) -> tuple[int, int, int, int]:
        """(channel, x, y, z) of a patch."""
        return (self.channels, *self.size)

    @property
    def patch_bytes(self) -> int:
        """Bytes of a decoded patch."""
        return int(np.prod(self.patch_shape)) * np.dtype(self.dtype).itemsize

    def to_attributes(self) -> dict[str, Any]:
        """As it stands in ``zarr.json``."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        return {"format": FORMAT, "version": VERSION, **plain}


def create_arrays(path: Path, info: StoreInfo) -> None:
    """Write the metadata of a new store: the group, and an array for each split. The root's comes last."""
    for split, shards in info.shards.items():
        zarr.create_array(
            store=str(path / split),
            name="image",
            shape=(shards * info.patches_per_shard, *info.patch_shape),
            chunks=(info.patches_per_chunk, *info.patch_shape),
            shards=(info.patches_per_shard, *info.patch_shape),
            dtype=info.dtype,
            compressors=[BloscCodec(cname="lz4", clevel=3, shuffle="bitshuffle")],
            fill_value=0,
            dimension_names=("n", "c", "x", "y", "z"),
            overwrite=True,
        )
    zarr.create_group(str(path), attributes=info.to_attributes())


def read_info(path: Path) -> StoreInfo | None:
    """The attributes of the store at `path`, or None where there is none.

    Raises
    ------
    StoreError
        Something else is there.
    """
    if not (path / "zarr.json").exists():
        return None
    attributes = dict(zarr.open_group(str(path), mode="r").attrs)
    if attributes.pop("format", None) != FORMAT:
        raise StoreError(str(path), "is a Zarr group but no patch store", "Choose another store.path")
    version = attributes.pop("version", None)
    if version != VERSION:
        raise StoreError(str(path), f"has format version {version}, this release reads {VERSION}", "Ingest it again")
    values: dict[str, Any] = attributes
    for key in ("classes", "size", "notes"):
        values[key] = tuple(values[key])
    return StoreInfo(**values)


def write_parquet(table: pa.Table, path: Path, row_group_size: int | None = None) -> None:
    """Write a table so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    pq.write_table(table, temporary, row_group_size=row_group_size)
    temporary.replace(path)
