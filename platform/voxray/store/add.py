"""Add rows to a finished store, in a folder of it: hard negatives, cut as the store's own patches are."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.datasets.manifest import QUARANTINE
from voxray.datasets.pseudonyms import paths_of
from voxray.errors import NotReadyError, StoreError
from voxray.patches.plan import Plan, assign_shards
from voxray.storage.paths import AnyPath, matching, relative_path, remove_folder, storage_errors
from voxray.store.added import added_folder, read_negatives
from voxray.store.finish import finish_store
from voxray.store.layout import INDEX, INDEX_FILE, PARTS_FOLDER, QUARANTINE_FILE, ROUNDS_FOLDER, StoreInfo
from voxray.store.metadata import read_info, write_metadata
from voxray.store.parts import forget_parts, read_parts, shard_keys, write_plan
from voxray.store.read import PatchStore, check_store, open_store
from voxray.store.tables import joined_digest, write_table

NAMES_SHOWN = 5
SCANS = ("scan_id", "patient_id", "path", "label_path")


def plan_added(store: PatchStore, experiment: Experiment, key: str, negatives: pa.Table) -> tuple[Plan, StoreInfo]:
    """The patches to cut around hard negatives, and the attributes of the folder that holds them.

    Parameters
    ----------
    store : PatchStore
        Without added rows.
    experiment : Experiment
        Names the scans, whose paths the store may not tell.
    key : str
    negatives : pyarrow.Table
        Schema `voxray.store.added.NEGATIVES`; their place there is their ``row``.
    """
    table = negatives.append_column("row", pa.array(np.arange(negatives.num_rows)))
    table = table.sort_by([("scan_id", "ascending"), ("row", "ascending")])
    scans = store.rows("train").select(SCANS).group_by(list(SCANS)).aggregate([])
    scans = scans.take(pc.index_in(table["scan_id"].unique(), value_set=scans["scan_id"].combine_chunks()))
    files = paths_of(experiment, scans.to_pylist())
    of_scan = pc.index_in(table["scan_id"], value_set=scans["scan_id"].combine_chunks())
    columns = {
        "patient_id": scans["patient_id"],
        "path": pa.chunked_array([pa.array([scan for scan, _ in files], pa.string())]),
        "label_path": pa.chunked_array([pa.array([mask for _, mask in files], pa.string())]),
    }
    for name, values in columns.items():
        table = table.append_column(name, values.take(of_scan))
    for name in ("number", "label", "split"):
        table = table.append_column(name, pa.array([0] * table.num_rows))
    shards: dict[str, int] = {}
    if table.num_rows:
        splits = np.full(table.num_rows, "train")
        table, shards = assign_shards(table, splits, store.info.patches_per_shard, experiment.seed)
    info = store.info
    provenance = {**info.provenance, "added": key, "content": store.content_digest}
    plan = Plan(
        table=table,
        classes=info.classes,
        task=info.task,
        size=info.size,
        dtype=info.dtype,
        patches_per_chunk=info.patches_per_chunk,
        patches_per_shard=info.patches_per_shard,
        shards=shards,
        population={},
        provenance=provenance,
    )
    changes = {"shards": shards, "scans": scans.num_rows, "digest": plan.digest, "provenance": provenance}
    return plan, replace(info, **changes, notes=(), population={})


def begin_added(folder: AnyPath, plan: Plan, info: StoreInfo) -> None:
    """Write what tasks need to cut the patches; those that are cut already stay."""
    with storage_errors(folder):
        (folder / INDEX_FILE).unlink(missing_ok=True)  # of a folder that cannot be read
    if plan.table.num_rows:
        write_plan(folder, plan)
    write_table(QUARANTINE.empty_table(), folder / PARTS_FOLDER / QUARANTINE_FILE, info.digest)
    write_metadata(folder, info)


def finish_added(folder: AnyPath, info: StoreInfo, store: PatchStore) -> None:
    """Write the index of the added rows.

    Raises
    ------
    StoreError
        Scans have changed since those of the store were cut.
    """
    if info.shards:
        _check_same_scans(folder, info, store)
        finish_store(folder, info, (), 1.0)
        return
    index = INDEX.empty_table()
    write_table(QUARANTINE.empty_table(), folder / QUARANTINE_FILE, joined_digest(info.digest, index))
    write_table(index, folder / INDEX_FILE, info.digest)
    forget_parts(folder)


def _check_same_scans(folder: AnyPath, info: StoreInfo, store: PatchStore) -> None:
    def checksums(table: pa.Table) -> Iterator[tuple[str, str]]:
        return zip(table["scan_id"].to_pylist(), table["scan_checksum"].to_pylist(), strict=True)

    known = dict(checksums(store.rows("train")))
    found = (pair for rows, _ in read_parts(folder, info, shard_keys(info)) for pair in checksums(rows))
    if changed := sorted({name for name, checksum in found if known[name] != checksum}):
        remove_folder(folder)
        problem = f"{len(changed)} scans have changed since they were read: {', '.join(changed[:NAMES_SHOWN])}"
        raise StoreError(str(store.path), problem, "Run voxray ingest … --repair to read them again")


def is_added(store: PatchStore, key: str) -> bool:
    """Whether the rows with a key are finished and can be read."""
    try:
        open_store(added_folder(store.path, key))
        read_negatives(store.path, key)
    except (NotReadyError, StoreError):
        return False
    return True


def check_added(path: AnyPath) -> Iterator[str]:
    """Read every patch that was added to the store at `path`, as `check_store` does; yields each shard."""
    for folder in _finished(path):
        yield from (f"{relative_path(path, folder)}: {name}" for name in check_store(open_store(folder)))


def repair_added(store: PatchStore) -> Iterator[str]:
    """Remove rows that were added to other patches than the store has, and damaged ones; yields what was removed.

    Training cuts them again.
    """
    for folder in _finished(store.path):
        name = relative_path(store.path, folder)
        try:
            info = read_info(folder)
            if info is not None and info.provenance["content"] != store.content_digest:
                remove_folder(folder)
                yield f"{name}: was added to patches that have changed"
                continue
            for _ in check_store(open_store(folder)):
                pass
        except StoreError as error:
            with storage_errors(folder):
                (folder / INDEX_FILE).unlink(missing_ok=True)
            yield f"{error.where}: {error.problem}"


def _finished(path: AnyPath) -> list[AnyPath]:
    return [file.parent for file in matching(path, f"{ROUNDS_FOLDER}/*/{INDEX_FILE}")]
