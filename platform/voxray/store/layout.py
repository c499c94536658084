"""The layout of a store on disk: names, schemas, arrays."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from voxray.config.tasks import TASKS
from voxray.storage.atomic import atomic_write
from voxray.storage.paths import AnyPath, as_file

FORMAT = "voxray-patch-store"
VERSION = 3
ZARR_FILE = "zarr.json"
INDEX_FILE = "index.parquet"
QUARANTINE_FILE = "quarantine.parquet"
SOURCES_FILE = "sources.parquet"
PARTS_FOLDER = "parts"
PLAN_FILE = "plan.parquet"
ROUNDS_FOLDER = "rounds"  # of rows that runs have added, see `voxray.store.added`
NEGATIVES_FILE = "negatives.parquet"
SEARCH_FOLDER = "search"
IMAGES, MASKS = "image", "label"
COMPRESSION: Final = "lz4"  # of blosc, which shuffles bits before
LEVEL: Final = 3
ABSENT = 2**64 - 1  # offset and size of a chunk that was not written
CHECKSUM_BYTES = 4  # of Zarr's codec crc32c, after each chunk and the index of a shard
REPAIR = "Re-run with voxray ingest … --repair"
REINGEST = "Run voxray ingest again"
# The paths of all files of a store; `shard` matches those that hold voxels.
STORE_FILES: Final = re.compile(
    r"rounds/\.[0-9a-f]+\.lock|(rounds/[0-9a-f]+/)?"
    r"(zarr\.json|(index|quarantine|sources|negatives)\.parquet|search/\d{6,}\.parquet"
    r"|parts/(plan|quarantine|(train|val|test)-\d{6,})\.parquet"
    r"|(train|val|test)/(zarr\.json|(image|label)/(zarr\.json|(?P<shard>c/\d+(/0)+))))"
)
LISTS = ("classes", "size", "notes")  # attributes that JSON keeps as lists

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
        ("label_path", pa.string()),  # null where there are no masks
        ("row", pa.int64()),
        ("x_start", pa.int32()),  # box in voxels of the canonical volume
        ("y_start", pa.int32()),
        ("z_start", pa.int32()),
        ("x_extent", pa.int32()),  # voxels of that volume
        ("y_extent", pa.int32()),
        ("z_extent", pa.int32()),
        ("x_mm", pa.float64()),  # center, world RAS
        ("y_mm", pa.float64()),
        ("z_mm", pa.float64()),
        ("statistics", pa.list_(pa.list_(pa.float64()))),  # of the whole scan, where the intensity needs them
        ("checksum", pa.string()),  # of the patch's voxels
        ("scan_checksum", pa.string()),  # of the scan's middle
    ]
)


@dataclass(frozen=True)
class StoreInfo:
    """The attributes of the store's root group.

    Attributes
    ----------
    task : str
        Key of `voxray.config.tasks.TASKS`; for segmentation the classes are those of voxels.
    size : tuple of int
        Voxels of a patch, x, y, z.
    shards : dict of str to int
        Number of shards of each split.
    scans : int
        Scans of the plan.
    digest : str
        Name of the provenance.
    provenance : dict
        Everything that the content depends on.
    notes : tuple of str
        Assumptions about the data set.
    population : dict
        Samples of each class that are listed and planned, by split, see `voxray.patches.population`.
    """

    classes: tuple[str, ...]
    task: str
    size: tuple[int, int, int]
    channels: int
    dtype: str
    patches_per_chunk: int
    patches_per_shard: int
    shards: Mapping[str, int]
    scans: int
    digest: str
    provenance: Mapping[str, Any]
    notes: tuple[str, ...]
    population: Mapping[str, Any] = field(default_factory=dict)

    @property
    def masks(self) -> bool:
        """Whether each patch has a label map."""
        return TASKS[self.task].needs_masks

    @property
    def private(self) -> bool:
        """Whether scans and files go by pseudonyms."""
        return bool(self.provenance.get("private", False))

    @property
    def patch_shape(self) -> tuple[int, int, int, int]:
        """(channel, x, y, z) of a patch."""
        return (self.channels, *self.size)

    @property
    def patch_bytes(self) -> int:
        """Bytes of a decoded patch."""
        return int(np.prod(self.patch_shape)) * np.dtype(self.dtype).itemsize


def shard_file(array: AnyPath, shard: int, ndim: int) -> AnyPath:
    """The file of a shard of an array with `ndim` dimensions, sharded along the first."""
    return array.joinpath("c", str(shard), *["0"] * (ndim - 1))


def read_parquet(path: AnyPath, schema: pa.Schema | None = None) -> pa.Table:
    """Read a whole table, and cast it to a schema where one is given."""
    with pq.ParquetFile(as_file(path), page_checksum_verification=True) as file:
        table = file.read()
    return table if schema is None else table.select(schema.names).cast(schema)


def write_parquet(table: pa.Table, path: AnyPath) -> None:
    """Write a table, whole or not at all."""
    with atomic_write(path) as unfinished:
        pq.write_table(table, unfinished, write_page_checksum=True)
