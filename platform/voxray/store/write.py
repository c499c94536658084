"""Filling a store. One call of `write_shard` writes one shard, whole, and nothing else does."""

import errno
import math
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

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
    create_arrays,
    read_info,
    write_parquet,
)
from voxray.store.memory import at_most, shard_bytes
from voxray.store.rows import Row, cut_scan
from voxray.store.shards import shard_file, write_shard_file

LOOK_AT_SCANS = 50
ASK_SCANS = 5  # whose majority says how many channels there are


@dataclass(frozen=True)
class ShardReport:
    """What came of one shard: patches and bytes written, samples set aside, seconds it took."""

    split: str
    shard: int
    scans: int
    patches: int
    quarantined: int
    seconds: float


def prepare_store(path: AnyPath, plan: Plan, manifest: Manifest) -> StoreInfo:
    """Create a store's metadata and its plan, or check that those on disk are of the same recipe.

    Raises
    ------
    StoreError
        A store of another recipe is there.
    ScanError
        None of the first scans can be read.
    """
    found = read_info(path)
    if found is not None:
        _check_same_provenance(path, found, plan)
        return found
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
    try:
        _write_plan(plan, parts / PLAN_FILE)
        write_parquet(manifest.quarantine, parts / QUARANTINE_FILE)
        with storage_errors(path):
            create_arrays(path, info)
    except OSError as error:
        raise disk_error(path, error) from error
    return info


def shard_keys(info: StoreInfo) -> list[tuple[str, int]]:
    """All (split, shard) of a store, in the order of the plan's row groups."""
    return [(split, shard) for split, count in info.shards.items() for shard in range(count)]


def unfinished_shards(path: AnyPath, info: StoreInfo) -> list[tuple[str, int]]:
    """The (split, shard) that no part file vouches for yet."""
    done = {part.name for part in (path / PARTS_FOLDER).glob("*.index.parquet")}
    return [key for key in shard_keys(info) if index_part(path, *key).name not in done]


def index_part(path: AnyPath, split: str, shard: int) -> AnyPath:
    """The file whose presence says that a shard is finished."""
    return path / PARTS_FOLDER / f"{split}-{shard:06d}.index.parquet"


def quarantine_part(path: AnyPath, split: str, shard: int) -> AnyPath:
    """What was set aside while a shard was written; absent where nothing was."""
    return path / PARTS_FOLDER / f"{split}-{shard:06d}.quarantine.parquet"


def write_shard(path: AnyPath, root: AnyPath, split: str, shard: int) -> ShardReport:
    """Read the scans of one shard, write their patches, and then the part file that marks the shard as finished.

    Parameters
    ----------
    path : AnyPath
        The store.
    root : AnyPath
        Folder of the scans.
    split : str
    shard : int

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
    """Write a shard as `write_shard` does, if so many bytes of memory are enough; else say how many would be.

    Parameters
    ----------
    given : int
        Bytes that this task may take.
    room : int, optional
        Bytes that any could: who has them all goes ahead, whatever it needs.
    """
    info, rows = _planned(path, split, shard)
    needed = at_most(shard_bytes(root, rows, info), room)
    return needed if needed > given else _write_rows(path, root, info, rows)


def _planned(path: AnyPath, split: str, shard: int) -> tuple[StoreInfo, list[Row]]:
    """The store's attributes, and the rows of its plan that are one shard's."""
    info = read_info(path)
    if info is None:
        raise StoreError(str(path), "is no store any more", "Was it deleted while ingest ran? Start again")
    group = shard_keys(info).index((split, shard))
    with storage_errors(path), (path / PARTS_FOLDER / PLAN_FILE).open("rb") as plan:
        return info, pq.ParquetFile(plan).read_row_group(group).to_pylist()


def _write_rows(path: AnyPath, root: AnyPath, info: StoreInfo, rows: list[Row]) -> ShardReport:
    began = time.perf_counter()
    split, shard = rows[0]["split"], rows[0]["shard"]
    first = shard * info.patches_per_shard
    # Only the chunks that are used: the last ones of a shard may stay absent.
    chunks = math.ceil((rows[-1]["slot"] + 1 - first) / info.patches_per_chunk)
    slots = chunks * info.patches_per_chunk
    images = np.zeros((slots, *info.patch_shape), info.dtype)
    masks = np.zeros((slots, *info.size), MASK_DTYPE) if info.masks else None
    index: list[Row] = []
    quarantine: list[Row] = []
    for scan_rows in _by_scan(rows):
        indexed, lost = cut_scan(root, scan_rows, info)
        quarantine += lost
        for item in indexed:
            index.append(item.row)
            images[item.row["slot"] - first] = item.patch.image
            if masks is not None:
                masks[item.row["slot"] - first] = item.patch.mask
    try:
        if index:
            for name, block in ((IMAGES, images), (MASKS, masks)):
                if block is not None:
                    file = shard_file(path / split / name, shard, block.ndim)
                    write_shard_file(file, block, info.patches_per_chunk, info.patches_per_shard)
        # An earlier try may have set scans aside that have been mended since.
        with storage_errors(path):
            quarantine_part(path, split, shard).unlink(missing_ok=True)
        if quarantine:
            write_parquet(pa.Table.from_pylist(quarantine, schema=QUARANTINE), quarantine_part(path, split, shard))
        write_parquet(pa.Table.from_pylist(index, schema=INDEX), index_part(path, split, shard))
    except OSError as error:
        raise disk_error(path, error) from error
    scans = len({row["scan_id"] for row in rows})
    lost_samples = sum(row["samples"] for row in quarantine)
    return ShardReport(split, shard, scans, len(index), lost_samples, time.perf_counter() - began)


def forget_parts(path: AnyPath) -> None:
    """Remove what only an unfinished store needs, and what killed tasks left half-written."""
    remove_folder(path / PARTS_FOLDER)
    remove_unfinished(path)
    if not isinstance(path, Path):
        return
    # zarr's own, of metadata.
    for leftover in path.rglob("*.partial"):
        leftover.unlink()


def disk_error(path: AnyPath, error: OSError) -> WorkError:
    """`error` in the user's words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return WorkError(str(path), f"the disk is full ({error.strerror})", "Make room; the same command goes on")
    return WorkError(str(path), f"cannot be written: {error}", "Check the disk; the same command goes on")


def _by_scan(rows: list[Row]) -> Iterator[list[Row]]:
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end]["scan_id"] != rows[start]["scan_id"]:
            yield rows[start:end]
            start = end


def _check_vacant(path: AnyPath) -> None:
    """Raise StoreError where something else than a store that was begun lies at `path`."""
    if not exists(path):
        return
    begun = exists(path / PARTS_FOLDER / PLAN_FILE)
    strange = [entry.name for entry in path.iterdir() if not (begun and entry.name in (PARTS_FOLDER, *SPLITS))]
    if strange:
        problem = f"is no patch store, but holds '{sorted(strange)[0]}'"
        raise StoreError(str(path), problem, "Give --set store.path=… an empty or new folder")


def count_channels(plan: Plan, manifest: Manifest) -> int:
    """Channels of the data set: as it says itself, or those of most of the first scans.

    Raises
    ------
    ScanError
        None of these scans can be read.
    """
    if manifest.channels:
        return len(manifest.channels)
    found: Counter[int] = Counter()
    reason = ScanError(str(manifest.root), "holds no scan")
    for path in plan.table["path"].unique().to_pylist()[:LOOK_AT_SCANS]:
        try:
            found[read_header(manifest.root / path).channels] += 1
        except ScanError as error:
            reason = error
        if found.total() == ASK_SCANS:
            break
    if not found:
        problem = f"{reason.problem}; nor can any other of the first {LOOK_AT_SCANS}"
        raise ScanError(reason.where, problem, reason.remedy)
    return found.most_common(1)[0][0]


def _write_plan(plan: Plan, path: AnyPath) -> None:
    """One row group for each shard, so that a task reads its own rows only."""
    with atomic_write(path) as unfinished, pq.ParquetWriter(unfinished, PLAN) as writer:
        for split, count in plan.shards.items():
            mine = plan.table.filter(pa.compute.equal(plan.table["split"], split))
            bounds = np.searchsorted(mine["shard"].to_numpy(), np.arange(count + 1))
            for start, end in pairwise(bounds):
                writer.write_table(mine.slice(start, end - start).cast(PLAN), row_group_size=max(1, end - start))


def _check_same_provenance(path: AnyPath, found: StoreInfo, plan: Plan) -> None:
    if found.digest == plan.digest:
        return
    differs = [key for key in plan.provenance if plan.provenance[key] != found.provenance.get(key)]
    details = "; ".join(f"{key} was {found.provenance.get(key)}, now {plan.provenance[key]}" for key in differs)
    problem = f"holds a store of another recipe: {details}"
    raise StoreError(str(path), problem, "Give --set store.path=… another place, or delete this folder")
