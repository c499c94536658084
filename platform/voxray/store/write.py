"""Filling a store. One call of `write_shard` writes one shard, whole, and nothing else does."""

import errno
import math
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import xxhash
import zarr
from numpy.typing import NDArray

from voxray.datasets.manifest import QUARANTINE, Manifest
from voxray.errors import ScanError, StoreError, WorkError
from voxray.patches.extract import cut_patch, patch_boxes
from voxray.patches.plan import Plan
from voxray.scans.geometry import voxel_to_world
from voxray.scans.read import open_scan
from voxray.store.layout import (
    INDEX,
    PARTS_FOLDER,
    PLAN_FILE,
    QUARANTINE_FILE,
    StoreInfo,
    create_arrays,
    read_info,
    write_parquet,
)
from voxray.volume import PatchBox, Volume

LOOK_AT_SCANS = 50
CONSTANT = "constant"


@dataclass(frozen=True)
class ShardReport:
    """What came of one shard: patches and bytes written, samples set aside, seconds it took."""

    split: str
    shard: int
    scans: int
    patches: int
    quarantined: int
    read_bytes: int
    seconds: float


def prepare_store(path: Path, plan: Plan, manifest: Manifest) -> StoreInfo:
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
        _check_same_recipe(path, found, plan)
        return found
    info = StoreInfo(
        classes=plan.classes,
        size=plan.size,
        channels=_channels(plan, manifest.root),
        dtype=plan.dtype,
        patches_per_chunk=plan.patches_per_chunk,
        patches_per_shard=plan.patches_per_shard,
        shards=plan.shards,
        scans=len(plan.table["scan_id"].unique()),
        digest=plan.digest,
        recipe=plan.recipe,
        notes=manifest.notes,
    )
    parts = path / PARTS_FOLDER
    try:
        write_parquet(manifest.quarantine, parts / QUARANTINE_FILE)
        _write_plan(plan, parts / PLAN_FILE)
        create_arrays(path, info)
    except OSError as error:
        raise disk_error(path, error) from error
    return info


def shard_keys(info: StoreInfo) -> list[tuple[str, int]]:
    """All (split, shard) of a store, in the order of the plan's row groups."""
    return [(split, shard) for split, count in info.shards.items() for shard in range(count)]


def unfinished_shards(path: Path, info: StoreInfo) -> list[tuple[str, int]]:
    """The (split, shard) that no part file vouches for yet."""
    done = {part.name for part in (path / PARTS_FOLDER).glob("*.index.parquet")}
    return [key for key in shard_keys(info) if index_part(path, *key).name not in done]


def index_part(path: Path, split: str, shard: int) -> Path:
    """The file whose presence says that a shard is finished."""
    return path / PARTS_FOLDER / f"{split}-{shard:06d}.index.parquet"


def quarantine_part(path: Path, split: str, shard: int) -> Path:
    """What was set aside while a shard was written; absent where nothing was."""
    return path / PARTS_FOLDER / f"{split}-{shard:06d}.quarantine.parquet"


def write_shard(path: Path, root: Path, fill: float, split: str, shard: int) -> ShardReport:
    """Read the scans of one shard, write their patches, and then the part file that vouches for them.

    Parameters
    ----------
    path : Path
        The store.
    root : Path
        Folder of the scans.
    fill : float
        Value of voxels outside a scan.
    split, shard
        Which one.

    Raises
    ------
    WorkError
        The disk is full, or failed.
    """
    began = time.perf_counter()
    info = read_info(path)
    if info is None:
        raise StoreError(str(path), "is no store any more", "Was it deleted while ingest ran? Start again")
    group = shard_keys(info).index((split, shard))
    rows = pq.ParquetFile(path / PARTS_FOLDER / PLAN_FILE).read_row_group(group).to_pylist()
    first = shard * info.patches_per_shard
    # Only the chunks that are used: the last ones of a shard may stay absent.
    chunks = math.ceil((rows[-1]["slot"] + 1 - first) / info.patches_per_chunk)
    block = np.zeros((chunks * info.patches_per_chunk, *info.patch_shape), info.dtype)
    index: list[dict[str, Any]] = []
    aside: list[dict[str, Any]] = []
    for scan_rows in _by_scan(rows):
        _cut_scan(root, scan_rows, info, fill, block, first, index, aside)
    try:
        if index:
            # Looking for empty chunks would read every voxel once more.
            array = zarr.open_array(str(path / split / "image"), mode="r+", config={"write_empty_chunks": True})
            array[first : first + len(block)] = block
        if aside:
            write_parquet(pa.Table.from_pylist(aside, schema=QUARANTINE), quarantine_part(path, split, shard))
        write_parquet(pa.Table.from_pylist(index, schema=INDEX), index_part(path, split, shard))
    except OSError as error:
        raise disk_error(path, error) from error
    scans = len({row["scan_id"] for row in rows})
    read = len(index) * info.patch_bytes
    lost = sum(row["samples"] for row in aside)
    return ShardReport(split, shard, scans, len(index), lost, read, time.perf_counter() - began)


def forget_parts(path: Path) -> None:
    """Remove what only an unfinished store needs."""
    shutil.rmtree(path / PARTS_FOLDER, ignore_errors=True)


def disk_error(path: Path, error: OSError) -> WorkError:
    """`error` in the user's words."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return WorkError(str(path), f"the disk is full ({error.strerror})", "Make room; the same command goes on")
    return WorkError(str(path), f"cannot be written: {error}", "Check the disk; the same command goes on")


def _cut_scan(
    root: Path,
    rows: list[dict[str, Any]],
    info: StoreInfo,
    fill: float,
    block: NDArray[np.generic],
    first: int,
    index: list[dict[str, Any]],
    aside: list[dict[str, Any]],
) -> None:
    """Cut all patches of one scan into `block`; extend `index` by the good ones and `aside` by the others."""
    one = rows[0]
    try:
        volume = open_scan(root / one["path"])
        if volume.voxels.shape[0] != info.channels:
            problem = f"has {volume.voxels.shape[0]} channels, the store has {info.channels}"
            raise ScanError(one["path"], problem, "Keep scans of one kind in a data set")
        scan_checksum = _middle_checksum(volume, info.size)
    except ScanError as error:
        aside.append(_quarantine_row(one, "scan", len(rows), str(error), root) | {"row": None})
        return
    boxes = patch_boxes(volume, centres_of(rows), info.size)
    for row, box in zip(rows, boxes, strict=True):
        where = f"{one['path']}: sample {row['row']}"
        try:
            if isinstance(box, ScanError):
                raise ScanError(where, box.problem)
            patch = cut_patch(volume, box, fill, block.dtype, where)
        except ScanError as error:
            aside.append(_quarantine_row(row, "sample", 1, str(error), root))
            continue
        block[row["slot"] - first] = patch
        index.append(_index_row(row, volume, box, voxel_checksum(patch), scan_checksum))


def centres_of(rows: list[dict[str, Any]]) -> NDArray[np.float64] | None:
    """World centres (n, 3) of a scan's samples; None where the images as a whole are the samples."""
    if rows[0]["x_mm"] is None:
        return None
    return np.array([(row["x_mm"], row["y_mm"], row["z_mm"]) for row in rows])


def _index_row(row: dict[str, Any], volume: Volume, box: PatchBox, checksum: str, scan_checksum: str) -> dict[str, Any]:
    centre = [row["x_mm"], row["y_mm"], row["z_mm"]]
    if row["x_mm"] is None:
        middle = np.array([box.start]) + np.array(box.size) // 2
        centre = voxel_to_world(volume.affine, middle)[0].tolist()
    names = ("split", "slot", "shard", "label", "scan_id", "patient_id", "path", "row")
    return {
        **{name: row[name] for name in names},
        "rotation": 0,
        **dict(zip(("x_start", "y_start", "z_start"), box.start, strict=True)),
        **dict(zip(("x_mm", "y_mm", "z_mm"), centre, strict=True)),
        "checksum": checksum,
        "scan_checksum": scan_checksum,
    }


def _quarantine_row(row: dict[str, Any], kind: str, samples: int, reason: str, root: Path) -> dict[str, Any]:
    relative = reason.replace(f"{root}/", "")
    return {
        "scan_id": row["scan_id"],
        "path": row["path"],
        "row": row["row"],
        "kind": kind,
        "samples": samples,
        "reason": relative,
    }


def voxel_checksum(voxels: NDArray[np.generic]) -> str:
    """A name for voxels. Constant ones have their value in it: air looks alike in all patients."""
    plain = np.ascontiguousarray(voxels)
    flat = plain.reshape(-1)
    # The ends are looked at first: nearly no patch needs the second look.
    if flat.size and flat[0] == flat[-1] and (flat == flat[0]).all():
        return f"{CONSTANT} {flat[0]}"
    return xxhash.xxh3_128_hexdigest(plain.data)


def _middle_checksum(volume: Volume, size: tuple[int, int, int]) -> str:
    """Checksum of a patch's breadth in the scan's middle slice, to find the same voxels under two names."""
    slices = []
    for extent, wanted in zip(volume.shape, (*size[:2], 1), strict=True):
        start = max(0, (extent - wanted) // 2)
        slices.append(slice(start, start + wanted))
    return voxel_checksum(volume.voxels[(slice(None), *slices)])


def _by_scan(rows: list[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    start = 0
    for end in range(1, len(rows) + 1):
        if end == len(rows) or rows[end]["scan_id"] != rows[start]["scan_id"]:
            yield rows[start:end]
            start = end


def _channels(plan: Plan, root: Path) -> int:
    """Channels of the first scan that can be read."""
    for path in plan.table["path"].unique().to_pylist()[:LOOK_AT_SCANS]:
        try:
            return int(open_scan(root / path).voxels.shape[0])
        except ScanError as error:
            reason = error
    raise ScanError(reason.where, f"{reason.problem}; nor can any other of the first {LOOK_AT_SCANS}", reason.remedy)


def _write_plan(plan: Plan, path: Path) -> None:
    """One row group for each shard, so that a task reads its own rows only."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}")
    with pq.ParquetWriter(temporary, plan.table.schema) as writer:
        for split, count in plan.shards.items():
            mine = plan.table.filter(pa.compute.equal(plan.table["split"], split))
            bounds = np.searchsorted(mine["shard"].to_numpy(), np.arange(count + 1))
            for start, end in pairwise(bounds):
                writer.write_table(mine.slice(start, end - start), row_group_size=max(1, end - start))
    temporary.replace(path)


def _check_same_recipe(path: Path, found: StoreInfo, plan: Plan) -> None:
    if found.digest == plan.digest:
        return
    differs = [key for key in plan.recipe if plan.recipe[key] != found.recipe.get(key)]
    details = "; ".join(f"{key} was {found.recipe.get(key)}, now {plan.recipe[key]}" for key in differs)
    problem = f"holds a store of another recipe: {details}"
    raise StoreError(str(path), problem, "Give --set store.path=… another place, or delete this folder")
