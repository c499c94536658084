"""Whether the scans of a store are still those that it was made from.

The state of a scan's files is compared first, which reads no voxel. Where it differs, the scan's patches are cut again
and compared with those of the store: files that were touched, copied or compressed again change nothing.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.console.progress import progress
from voxray.datasets.pseudonyms import paths_of
from voxray.errors import DataError, StoreError
from voxray.executors.base import Executor
from voxray.patches.plan import PLAN, Plan
from voxray.patches.planned import plan_experiment
from voxray.scans.files import scan_files
from voxray.stages.common import OnStatus
from voxray.storage.paths import AnyPath, exists, join_path
from voxray.store.compare import chunk_scans, digests, patches_digest
from voxray.store.layout import INDEX, INDEX_FILE, StoreInfo
from voxray.store.matching import check_provenance
from voxray.store.parts import Key, read_part, shard_keys, unfinished_shards
from voxray.store.read import PatchStore, open_store
from voxray.store.sources import Sources, States, data_settings, find_states, read_sources, write_sources

SCAN = ("scan_id", "path", "label_path")
NAMES_SHOWN = 5
NOTHING = patches_digest([])  # of a scan that has no good patch
Cut = Callable[[AnyPath, AnyPath, Sequence[pa.Table]], Iterator[pa.Table]]  # see `Executor.cut_digests`
REPAIR = "Run voxray ingest … --repair to read them again, or give another folder with --set store.path=…"


def check_sources(
    experiment: Experiment,
    info: StoreInfo,
    plan: Plan,
    executor: Executor,
    on_status: OnStatus,
    forget: Callable[[Collection[Key]], None] | None = None,
) -> None:
    """Check all scans of a plan against the shards that were written from them, and record the state of their files.

    Parameters
    ----------
    experiment : Experiment
    info : StoreInfo
    plan : Plan
    executor : Executor
    on_status : callable
    forget : callable, optional
        Makes shards, (split, shard) each, count as not written: those with scans that have changed.

    Raises
    ------
    StoreError
        Scans have changed since they were read, and nothing forgets their shards.
    """
    path = experiment.store_path
    known = read_sources(path)
    now = Sources(data_settings(experiment, info), find_states(experiment.data_path, scans_of(plan.table)))
    if now == known:
        return
    differing = _differing(known.states if known else {}, now.states)
    if differing:
        rows, index = _written(experiment, info, _rows_of(plan.table, differing))
        changed = _changed_scans(experiment, rows, index, executor.cut_digests, on_status)
        if changed and forget is None:
            raise _refusal(experiment, info, changed)
        if changed and forget is not None:
            keys = _keys(_rows_of(plan.table, changed))
            on_status(
                f"repair: {len(changed)} of {info.scans} scans have changed since they were read; "
                f"their shards are written again ({len(keys)} of {sum(info.shards.values())})"
            )
            forget(keys)
    write_sources(path, now)


def check_read_again(
    experiment: Experiment, store: PatchStore, scans: Iterable[Mapping[str, Any]], cut: Cut, on_status: OnStatus
) -> None:
    """Check scans that are about to be read again; without the data set there is nothing to check.

    Parameters
    ----------
    experiment : Experiment
    store : PatchStore
    scans : iterable of mapping
        With ``scan_id``, ``path`` and ``label_path`` as in the index.
    cut : callable
        Of an executor, or of this process.
    on_status : callable

    Raises
    ------
    StoreError
        Scans have changed since they were read, or the data set lists others.
    """
    rows = [{name: scan[name] for name in SCAN} for scan in scans]
    if not rows or not exists(experiment.data_path):
        return
    files = zip(rows, paths_of(experiment, rows), strict=True)
    scans = [{**row, "path": path, "label_path": mask} for row, (path, mask) in files]
    known = read_sources(store.path)
    differing = _differing(known.states if known else {}, find_states(experiment.data_path, scans))
    if differing:
        _, plan = plan_experiment(experiment)
        check_provenance(store.path, store.info.provenance, plan.provenance)
        planned, written = (_rows_of(table, differing) for table in (plan.table, store.index))
        if changed := _changed_scans(experiment, planned, written, cut, on_status):
            raise _refusal(experiment, store.info, changed)


def scans_on_disk(experiment: Experiment, scans: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Those scans whose files, with the mask, are still in the data set."""

    def is_there(scan: Mapping[str, Any]) -> bool:
        try:
            ((path, mask),) = paths_of(experiment, [scan])
        except DataError:  # of a pseudonym that is no longer listed
            return False
        root = experiment.data_path
        return all(exists(file) for name in (path, mask) if name for file in scan_files(join_path(root, name)))

    return [scan for scan in scans if is_there(scan)] if exists(experiment.data_path) else []


def _changed_scans(experiment: Experiment, rows: pa.Table, index: pa.Table, cut: Cut, on_status: OnStatus) -> list[str]:
    """Cut rows of the plan again; the scans whose patches are not those in these rows of the index."""
    before = digests(index)
    now: dict[str, str] = {}
    total = len(pc.unique(rows["scan_id"]))
    with progress("compare", "scans") as display:
        for found in cut(experiment.store_path, experiment.data_path, chunk_scans(rows)):
            now |= dict(zip(*(column.to_pylist() for column in found.columns), strict=True))
            display(len(now), total, "")
    changed = sorted(name for name, digest in now.items() if before.get(name, NOTHING) != digest)
    if same := now.keys() - set(changed):
        on_status(f"note: the files of {_count(same)} have other times or sizes, their patches are the same")
    return changed


def _refusal(experiment: Experiment, info: StoreInfo, changed: Sequence[str]) -> StoreError:
    names = ", ".join(changed[:NAMES_SHOWN]) + (", …" if len(changed) > NAMES_SHOWN else "")
    problem = f"{len(changed)} of {info.scans} scans have changed since they were read: {names}"
    return StoreError(str(experiment.store_path), problem, REPAIR)


def _count(scans: Collection[str]) -> str:
    return f"{len(scans)} scan{'' if len(scans) == 1 else 's'}"


def _keys(rows: pa.Table) -> set[Key]:
    """The shards of some rows of the plan."""
    return {(row["split"], row["shard"]) for row in rows.group_by(["split", "shard"]).aggregate([]).to_pylist()}


def _written(experiment: Experiment, info: StoreInfo, rows: pa.Table) -> tuple[pa.Table, pa.Table]:
    """Those of some rows of the plan whose shards are written, and the rows of the index of the same scans there."""
    path = experiment.store_path
    if exists(path / INDEX_FILE):
        return rows, _rows_of(open_store(path).index, pc.unique(rows["scan_id"]).to_pylist())
    finished = set(shard_keys(info)).difference(unfinished_shards(path, info))
    kept, index = [], [INDEX.empty_table()]
    for split, shard in sorted(finished & _keys(rows)):
        here = rows.filter(pc.and_(pc.equal(rows["split"], split), pc.equal(rows["shard"], shard)))
        kept.append(here)
        index.append(_rows_of(read_part(path, info, (split, shard))[0], here["scan_id"].to_pylist()))
    return pa.concat_tables([PLAN.empty_table(), *kept]), pa.concat_tables(index)


def scans_of(rows: pa.Table) -> list[dict[str, Any]]:
    """Each scan of some rows of a plan or an index with its files, once."""
    columns = {name: rows[name].cast(pa.string()) for name in SCAN}
    scans: list[dict[str, Any]] = pa.table(columns).group_by(list(columns)).aggregate([]).to_pylist()
    return scans


def _differing(before: States, now: States) -> list[str]:
    return [name for name, state in now.items() if before.get(name) != state]


def _rows_of(table: pa.Table, scans: Collection[str]) -> pa.Table:
    """Rows of a plan or of an index that belong to some scans; a plan's as it is on disk."""
    names = table["scan_id"].cast(pa.string())
    rows = table.filter(pc.is_in(names, value_set=pa.array(scans, pa.string())))
    return rows.cast(PLAN) if rows.column_names == PLAN.names else rows
