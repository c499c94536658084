"""Fill a store. One call of `write_shard` writes one whole shard, and nothing else writes it."""

import math
import time
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.datasets.manifest import QUARANTINE
from voxray.errors import StoreError, WorkError
from voxray.patches.cut import MASK_DTYPE
from voxray.storage.paths import AnyPath, exists
from voxray.store.layout import IMAGES, INDEX, INDEX_FILE, MASKS, REINGEST, StoreInfo, shard_file
from voxray.store.memory import at_most, shard_bytes
from voxray.store.metadata import read_info
from voxray.store.parts import Key, read_planned, write_part
from voxray.store.rows import Row, cut_scan
from voxray.store.shards import write_shard_file


@dataclass(frozen=True)
class ShardReport:
    """The outcome of one shard."""

    split: str
    shard: int
    scans: int  # read
    patches: int  # written
    quarantined: int  # samples that could not be used
    seconds: float


def write_shard(path: AnyPath, root: AnyPath, split: str, shard: int) -> ShardReport:
    """Read the scans of one shard, write their patches, and then the part file that marks the shard as finished.

    Raises
    ------
    StoreError
        The store is not there.
    WorkError
        The disk is full, or failed.
    """
    return _write_rows(path, root, *_planned(path, (split, shard)))


def write_shard_within(
    path: AnyPath, root: AnyPath, split: str, shard: int, given: int, room: int | None
) -> ShardReport | int:
    """Write a shard as `write_shard` does if the bytes given to this task suffice; else return those it needs.

    `room` is the most bytes that any task can have; a task that has them starts whatever it needs.
    """
    info, rows = _planned(path, (split, shard))
    needed = at_most(shard_bytes(root, rows, info), room)
    return needed if needed > given else _write_rows(path, root, info, rows)


def _planned(path: AnyPath, key: Key) -> tuple[StoreInfo, list[Row]]:
    """The store's attributes, and the rows of the plan for one shard."""
    info = read_info(path)
    if info is None:
        raise StoreError(str(path), "the store was removed while ingest was running", REINGEST)
    return info, read_planned(path, info, key)


def _write_rows(path: AnyPath, root: AnyPath, info: StoreInfo, rows: list[Row]) -> ShardReport:
    began = time.perf_counter()
    split, shard = rows[0]["split"], rows[0]["shard"]
    first = shard * info.patches_per_shard
    # Only the chunks that are used: the last ones of a shard may stay absent.
    slots = math.ceil((rows[-1]["slot"] + 1 - first) / info.patches_per_chunk) * info.patches_per_chunk
    blocks: dict[str, NDArray[Any]] = {IMAGES: np.zeros((slots, *info.patch_shape), info.dtype)}
    if info.masks:
        blocks[MASKS] = np.zeros((slots, *info.size), MASK_DTYPE)
    index: list[Row] = []
    quarantine: list[Row] = []
    for _, scan_rows in groupby(rows, itemgetter("scan_id")):
        indexed, quarantined = cut_scan(root, list(scan_rows), info)
        quarantine += quarantined
        for row, patch in indexed:
            index.append(row)
            # Without masks there is one block.
            for block, voxels in zip(blocks.values(), (patch.image, patch.mask), strict=False):
                block[row["slot"] - first] = voxels
    _check_waiting(path, info)
    for name, block in blocks.items() if index else ():
        file = shard_file(path / split / name, shard, block.ndim)
        write_shard_file(file, block, info.patches_per_chunk, info.patches_per_shard)
    _check_waiting(path, info)
    tables = pa.Table.from_pylist(index, schema=INDEX), pa.Table.from_pylist(quarantine, schema=QUARANTINE)
    write_part(path, info, (split, shard), *tables)
    scans, lost = len({row["scan_id"] for row in rows}), sum(row["samples"] for row in quarantine)
    return ShardReport(split, shard, scans, len(index), lost, time.perf_counter() - began)


def _check_waiting(path: AnyPath, info: StoreInfo) -> None:
    """Raise WorkError unless the store still waits for shards; a task may outlive the ingest that started it."""
    now = read_info(path)
    if now is None or now.digest != info.digest or exists(path / INDEX_FILE):
        problem = "the store was finished, replaced or removed by another process while a task read its scans"
        raise WorkError(str(path), f"{problem}; its results are dropped", "Re-run the same command to see what is left")
