"""Fill a store. One call of `write_shard` writes one whole shard, and nothing else writes it."""

import errno
import math
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from voxray.datasets.manifest import QUARANTINE, Manifest
from voxray.errors import ScanError, StoreError, WorkError
from voxray.patches.balance import SPLITS
from voxray.patches.cut import MASK_DTYPE
from voxray.patches.plan import PLAN, Plan
from voxray.scans.header import read_header
from voxray.storage.atomic import atomic_write, remove_unfinished
from voxray.storage.paths import AnyPath, exists, remove_folder, storage_errors
from voxray.store.layout import (
    IMAGES,
    INDEX,
    MASKS,
    PARTS_FOLDER,
    PLAN_FILE,
    QUARANTINE_FILE,
    StoreInfo,
    shard_file,
    write_parquet,
)
from voxray.store.matching import check_provenance
from voxray.store.memory import at_most, shard_bytes
from voxray.store.metadata import read_info, write_metadata
from voxray.store.rows import Row, cut_scan
from voxray.store.shards import write_shard_file

MAX_HEADERS = 50  # that are tried until enough can be read
ENOUGH_HEADERS = 5  # the number of channels is that of most of them


@dataclass(frozen=True)
class ShardReport:
    """The outcome of one shard."""

    split: str
    shard: int
    scans: int  # read
    patches: int  # written
    quarantined: int  # samples that could not be used
    seconds: float


def prepare_store(path: AnyPath, plan: Plan, manifest: Manifest) -> StoreInfo:
    """Create a store's metadata and its plan, or check that those on disk have the same provenance.

    Raises
    ------
    StoreError
        The folder holds a store with other settings, or something else.
    ScanError
        None of the first scans can be read.
    """
    existing = read_info(path)
    if existing is not None:
        check_provenance(path, existing.provenance, plan.provenance)
        return existing
    _check_vacant(path)
    info = StoreInfo(
        classes=plan.classes,
        task=plan.task,
        size=plan.size,
        channels=count_channels(plan, manifest),
        dtype=plan.dtype,
        patches_per_chunk=plan.patches_per_chunk,
        patches_per_shard=plan.patches_per_shard,
        shards=plan.shards,
        scans=len(plan.table["scan_id"].unique()),
        digest=plan.digest,
        provenance=plan.provenance,
        notes=manifest.notes,
    )
    parts = path / PARTS_FOLDER
    with _disk_errors(path):
        _write_plan(plan, parts / PLAN_FILE)
        write_parquet(manifest.quarantine, parts / QUARANTINE_FILE)
        with storage_errors(path):
            write_metadata(path, info)
    return info


def shard_keys(info: StoreInfo) -> list[tuple[str, int]]:
    """All (split, shard) of a store, in the order of the plan's row groups."""
    return [(split, shard) for split, count in info.shards.items() for shard in range(count)]


def unfinished_shards(path: AnyPath, info: StoreInfo) -> list[tuple[str, int]]:
    """The (split, shard) without a part file, which is written last."""
    done = {part.name for part in (path / PARTS_FOLDER).glob("*.index.parquet")}
    return [key for key in shard_keys(info) if index_part(path, *key).name not in done]


def index_part(path: AnyPath, split: str, shard: int) -> AnyPath:
    """The file that marks a shard as finished."""
    return path / PARTS_FOLDER / f"{split}-{shard:06d}.index.parquet"


def quarantine_part(path: AnyPath, split: str, shard: int) -> AnyPath:
    """The quarantine rows of a shard; absent where there are none."""
    return path / PARTS_FOLDER / f"{split}-{shard:06d}.quarantine.parquet"


def write_shard(path: AnyPath, root: AnyPath, split: str, shard: int) -> ShardReport:
    """Read the scans of one shard, write their patches, and then the part file that marks the shard as finished.

    Raises
    ------
    StoreError
        The store is not there.
    WorkError
        The disk is full, or failed.
    """
    return _write_rows(path, root, *_planned(path, split, shard))


def write_shard_within(
    path: AnyPath, root: AnyPath, split: str, shard: int, given: int, room: int | None
) -> ShardReport | int:
    """Write a shard as `write_shard` does if the bytes given to this task suffice; else return those it needs.

    `room` is the most bytes that any task can have; a task that has them starts whatever it needs.
    """
    info, rows = _planned(path, split, shard)
    needed = at_most(shard_bytes(root, rows, info), room)
    return needed if needed > given else _write_rows(path, root, info, rows)


def _planned(path: AnyPath, split: str, shard: int) -> tuple[StoreInfo, list[Row]]:
    """The store's attributes, and the rows of the plan for one shard."""
    info = read_info(path)
    if info is None:
        raise StoreError(str(path), "the store was removed while ingest was running", "Run voxray ingest again")
    group = shard_keys(info).index((split, shard))
    with storage_errors(path), (path / PARTS_FOLDER / PLAN_FILE).open("rb") as plan:
        return info, pq.ParquetFile(plan).read_row_group(group).to_pylist()


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
    with _disk_errors(path):
        for name, block in blocks.items() if index else ():
            file = shard_file(path / split / name, shard, block.ndim)
            write_shard_file(file, block, info.patches_per_chunk, info.patches_per_shard)
        # An earlier try may have quarantined scans that have been repaired since.
        with storage_errors(path):
            quarantine_part(path, split, shard).unlink(missing_ok=True)
        if quarantine:
            write_parquet(pa.Table.from_pylist(quarantine, schema=QUARANTINE), quarantine_part(path, split, shard))
        write_parquet(pa.Table.from_pylist(index, schema=INDEX), index_part(path, split, shard))
    scans, lost = len({row["scan_id"] for row in rows}), sum(row["samples"] for row in quarantine)
    return ShardReport(split, shard, scans, len(index), lost, time.perf_counter() - began)


def forget_parts(path: AnyPath) -> None:
    """Remove what only an unfinished store needs, and what killed tasks left half-written."""
    remove_folder(path / PARTS_FOLDER)
    remove_unfinished(path)
    if isinstance(path, Path):
        for leftover in path.rglob("*.partial"):  # of Zarr's metadata
            leftover.unlink()


@contextmanager
def _disk_errors(path: AnyPath) -> Iterator[None]:
    """Turn OSError into WorkError with a remedy."""
    try:
        yield
    except OSError as error:
        problem, remedy = f"cannot be written: {error}", "Check the disk, then re-run the same command to resume"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            problem = f"the disk is full ({error.strerror})"
            remedy = "Free some space, then re-run the same command to resume"
        raise WorkError(str(path), problem, remedy) from error


def _check_vacant(path: AnyPath) -> None:
    """Raise StoreError where the folder holds anything but an unfinished store."""
    if not exists(path):
        return
    expected = (PARTS_FOLDER, *SPLITS) if exists(path / PARTS_FOLDER / PLAN_FILE) else ()
    foreign = sorted(entry.name for entry in path.iterdir() if entry.name not in expected)
    if foreign:
        problem = f"expected an empty or new folder, got one that holds '{foreign[0]}'"
        raise StoreError(str(path), problem, "Give another folder with --set store.path=…")


def count_channels(plan: Plan, manifest: Manifest) -> int:
    """Channels of the data set: those that it names, or those of most of the first scans.

    Raises
    ------
    ScanError
        None of these scans can be read.
    """
    if manifest.channels:
        return len(manifest.channels)
    channels: Counter[int] = Counter()
    last_error = ScanError(str(manifest.root), "holds no scan")
    for path in plan.table["path"].unique().to_pylist()[:MAX_HEADERS]:
        try:
            channels[read_header(manifest.root / path).channels] += 1
        except ScanError as error:
            last_error = error
        if channels.total() == ENOUGH_HEADERS:
            break
    if not channels:
        problem = f"{last_error.problem}; none of the first {MAX_HEADERS} scans can be read"
        raise ScanError(last_error.where, problem, last_error.remedy)
    return channels.most_common(1)[0][0]


def _write_plan(plan: Plan, path: AnyPath) -> None:
    """One row group for each shard, so that a task reads its own rows only."""
    with atomic_write(path) as unfinished, pq.ParquetWriter(unfinished, PLAN) as writer:
        for split, count in plan.shards.items():
            rows = plan.table.filter(pa.compute.equal(plan.table["split"], split))
            bounds = np.searchsorted(rows["shard"].to_numpy(), np.arange(count + 1))
            for start, end in pairwise(bounds):
                writer.write_table(rows.slice(start, end - start).cast(PLAN), row_group_size=max(1, end - start))
