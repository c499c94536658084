"""Begin a store, or make again what of its own files is lost or damaged. Voxels are written by `voxray.store.write`."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa

from voxray.datasets.manifest import QUARANTINE, Manifest
from voxray.errors import ScanError, StoreError
from voxray.patches.plan import Plan
from voxray.scans.header import read_header
from voxray.storage.atomic import UNFINISHED, write_bytes
from voxray.storage.paths import AnyPath, exists, relative_path, storage_errors
from voxray.store.layout import INDEX, INDEX_FILE, PARTS_FOLDER, QUARANTINE_FILE, STORE_FILES, ZARR_FILE, StoreInfo
from voxray.store.matching import ANOTHER_STORE, check_provenance
from voxray.store.metadata import is_intact, metadata_files, read_info
from voxray.store.parts import forget_damaged_parts, stored_digest, write_plan
from voxray.store.reopen import reopen_store
from voxray.store.repair import check_shards
from voxray.store.tables import joined_digest, read_table, write_table

MAX_HEADERS = 50  # that are tried until enough can be read
ENOUGH_HEADERS = 5  # the number of channels is that of most of them

OnStatus = Callable[[str], None]


def prepare_store(path: AnyPath, plan: Plan, manifest: Manifest, on_status: OnStatus = lambda line: None) -> StoreInfo:
    """Create a store's metadata and its plan, or check that those on disk have the same provenance.

    Files of the store itself that are lost or damaged are made again, each with a line of status. Without the index all
    scans are read again, without the quarantine those of shards that lack patches.

    Raises
    ------
    StoreError
        The folder holds a store with other settings, or something else.
    ScanError
        None of the first scans can be read.
    """
    known = _read_known(path, plan, on_status)
    info = known or _new_info(plan, manifest)
    if exists(path / INDEX_FILE):
        index = _read_if_intact(path / INDEX_FILE, INDEX, info.digest, on_status)
        if index is None:
            with storage_errors(path):
                (path / INDEX_FILE).unlink()
        else:
            digest = joined_digest(info.digest, index)
            quarantine = _read_if_intact(path / QUARANTINE_FILE, QUARANTINE, digest, on_status)
            if quarantine is None:
                # It may be the index that belongs to another store.
                damaged = [key for key, problem in check_shards(path, info) if problem]
                reopen_store(path, info, plan, manifest, damaged)
            elif known is None:
                reopen_store(path, info, plan, manifest, [])
    if not exists(path / INDEX_FILE):
        write_plan(path, plan)
        write_table(manifest.quarantine, path / PARTS_FOLDER / QUARANTINE_FILE, info.digest)
        for split, shard in forget_damaged_parts(path, info):
            on_status(f"ingest: the part of {split} shard {shard} cannot be read, the shard is written again")
    _write_metadata(path, info, on_status)
    return info


def _read_known(path: AnyPath, plan: Plan, on_status: OnStatus) -> StoreInfo | None:
    """The attributes of the store at `path`; None where there is none yet, or none that can be read.

    Raises
    ------
    StoreError
        The folder holds a store with other settings, or something else.
    """
    digest = stored_digest(path)
    try:
        known = read_info(path)
    except StoreError as error:
        if digest != plan.digest:
            raise
        on_status(f"ingest: {error.where}: {error.problem}, made again")
        return None
    if known is not None:
        check_provenance(path, known.provenance, plan.provenance)
        return known
    if digest not in (None, plan.digest):
        raise StoreError(str(path), f"holds a store with other settings, whose {ZARR_FILE} is lost", ANOTHER_STORE)
    if exists(path):
        _check_vacant(path, may_hold_shards=digest is not None)
    if exists(path / INDEX_FILE):
        on_status(f"ingest: {path / ZARR_FILE} is missing, made again")
    return None


def _check_vacant(path: AnyPath, *, may_hold_shards: bool) -> None:
    """Raise StoreError where the folder holds anything but files of an unfinished store."""
    for name in _files(path):
        match = STORE_FILES.fullmatch(name)
        if match is None or (match["shard"] and not may_hold_shards):
            problem = f"expected an empty or new folder, got one that holds '{name.partition('/')[0]}'"
            raise StoreError(str(path), problem, "Give another folder with --set store.path=…")


def _files(path: AnyPath) -> Iterator[str]:
    """All files below a folder, but for those that were being written when their process died."""
    with storage_errors(path):
        for file in path.rglob("*"):
            if not file.name.startswith(UNFINISHED) and not (isinstance(file, Path) and file.is_dir()):
                yield relative_path(path, file)


def _read_if_intact(file: AnyPath, schema: pa.Schema, digest: str, on_status: OnStatus) -> pa.Table | None:
    try:
        return read_table(file, schema, digest)
    except StoreError as error:
        on_status(f"ingest: {error.where}: {error.problem}, made again")
        return None


def _write_metadata(path: AnyPath, info: StoreInfo, on_status: OnStatus) -> None:
    """Write the metadata that is missing or differs; that of the root last."""
    root = exists(path / ZARR_FILE)
    for name, content in metadata_files(info).items():
        if not is_intact(path / name, content):
            if root:
                on_status(f"ingest: {path / name} is missing or damaged, made again")
            write_bytes(path / name, content)


def _new_info(plan: Plan, manifest: Manifest) -> StoreInfo:
    return StoreInfo(
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
        population=plan.population,
    )


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
