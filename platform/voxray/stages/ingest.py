"""Ingest: from scans to a finished patch store."""

import time
from collections.abc import Iterator, Sequence
from functools import partial
from itertools import chain

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress, progress
from voxray.executors.base import Executor
from voxray.inspection.patch_duplicates import (
    PatchDuplicates,
    find_patch_duplicates,
    patch_row,
    write_patch_duplicates,
)
from voxray.patches.plan import Plan, empty_classes
from voxray.reporting.text.numbers import count
from voxray.runs.folder import run_folder
from voxray.runs.status import confirm_finished, heartbeat, reported
from voxray.stages.common import OnStatus
from voxray.stages.outline import RunPlan, plan_run
from voxray.stages.scan_check import check_sources
from voxray.storage.locks import locked
from voxray.storage.paths import exists, to_path
from voxray.store.add import check_added, repair_added
from voxray.store.finish import finish_store
from voxray.store.layout import INDEX_FILE, QUARANTINE_FILE, StoreInfo
from voxray.store.parts import Key, forget_parts, read_parts, shard_keys, unfinished_shards
from voxray.store.prepare import prepare_store
from voxray.store.read import PatchStore, check_store, open_store
from voxray.store.repair import check_shards, forget
from voxray.store.write import ShardReport
from voxray.training.fit import missing_classes

REASONS_SHOWN = 5


def ingest(
    experiment: Experiment,
    executor: Executor,
    on_status: OnStatus,
    *,
    verify: bool = False,
    repair: bool = False,
    planned: RunPlan | None = None,
) -> None:
    """Cut patches from the scans and write them to the store; resumes an interrupted ingest.

    Parameters
    ----------
    experiment : Experiment
    executor : Executor
    on_status : callable
    verify : bool
        Whether to read every patch, compare its checksum, and look for near duplicates across splits.
    repair : bool
        Whether to read every shard, and write those again that are missing or damaged, or whose scans have changed.
    planned : RunPlan, optional
        The plan of the run, where it is known: planning reads the header of every scan.

    Raises
    ------
    ConfigError
        The settings do not fit the data, or differ from those of the store.
    DataError
        Too many scans cannot be used.
    """
    run_folder(experiment).check_vacant(to_path(experiment.model.architecture))
    planned = planned or plan_run(experiment)
    for note in [*planned.manifest.notes, *empty_classes(planned.plan)]:
        on_status(f"note: {note}")
    path = experiment.store_path
    # A finished store is only read, also on a disk that cannot be written.
    with locked(path, must_write=repair or not exists(path / INDEX_FILE)):
        info = prepare_store(path, planned.plan, planned.manifest, on_status)
        if repair:
            _repair(experiment, info, planned, on_status)
        forget_changed = partial(forget, path, info, planned.plan, planned.manifest) if repair else None
        check_sources(experiment, info, planned.plan, executor, on_status, forget_changed)
        if exists(path / INDEX_FILE):
            forget_parts(path)
            confirm_finished(run_folder(experiment), "ingest")
            on_status(f"ingest: the store {path} is finished, reused")
        else:
            _fill_store(experiment, info, planned, executor, on_status)
        if repair:
            for problem in repair_added(open_store(path)):
                on_status(f"repair: {problem}; the hard negatives are cut again by the next training")
    if verify:
        store = open_store(path)
        with reported(run_folder(experiment), "verify", "shards") as on_progress:
            for number, name in enumerate(chain(check_store(store), check_added(path)), 1):
                on_progress(number, max(number, len(shard_keys(info))), name)
        on_status("ingest: every patch matches its checksum")
        found = find_patch_duplicates(store)
        write_patch_duplicates(run_folder(experiment).near_duplicates, found)
        on_status(f"{'note' if found.pairs else 'ingest'}: {found.text}{_first_pair(store, found)}")


def _first_pair(store: PatchStore, found: PatchDuplicates) -> str:
    if not found.pairs:
        return ""
    pair = found.pairs[0]
    first, second = (f"{patch_row(store, place)['path']} ({place[0]})" for place in (pair.first, pair.second))
    return f", first {first} and {second}, whose details correlate by {pair.correlation:.2f}; the report shows them"


def _repair(experiment: Experiment, info: StoreInfo, planned: RunPlan, on_status: OnStatus) -> None:
    """Forget the shards that are missing or damaged, so that they are written again."""
    path, checked = experiment.store_path, 0
    damaged: list[Key] = []
    with reported(run_folder(experiment), "repair", "shards") as on_progress:
        for checked, (key, problem) in enumerate(check_shards(path, info), 1):
            on_progress(checked, len(shard_keys(info)), f"{key[0]} shard {key[1]}")
            if problem:
                damaged.append(key)
                on_status(f"repair: {problem}")
        if damaged:
            forget(path, info, planned.plan, planned.manifest, damaged)
    again = f"{count(len(damaged), 'damaged shard')} {'is' if len(damaged) == 1 else 'are'} written again"
    intact = f"{count(checked, 'shard')} checked, none is damaged"
    on_status(f"repair: {again if damaged else intact}")


def _fill_store(
    experiment: Experiment, info: StoreInfo, planned: RunPlan, executor: Executor, on_status: OnStatus
) -> None:
    started = time.perf_counter()
    path, root = experiment.store_path, experiment.data_path
    waiting = unfinished_shards(path, info)
    total = len(shard_keys(info))
    finished_parts = read_parts(path, info, [key for key in shard_keys(info) if key not in set(waiting)])
    done = len(finished_parts)
    if done:
        on_status(f"ingest: {done} of {total} shards are finished, resuming")
    with heartbeat(run_folder(experiment), "ingest", "shards", done) as on_progress:
        reports = executor.write_shards(path, root, waiting)
        _follow_shards(reports, planned.plan, finished_parts, total, on_progress)
        # A scan that changed in the meantime may be in one shard as it was, and in another as it is.
        check_sources(experiment, info, planned.plan, executor, on_status)
        finished = finish_store(
            path,
            info,
            experiment.patches.oversample_rotations,
            experiment.store.max_quarantined,
            published_split=planned.manifest.published_split,
        )
        store = open_store(path)
        quarantined, reasons = _quarantined(store)
        on_progress(total, total, f"{finished.patches:,} patches{quarantined}")
    seconds = time.perf_counter() - started
    on_status(f"ingest: {finished.patches:,} patches of {info.scans:,} scans in {seconds:.1f} s → {path}")
    for note in store.info.notes[len(info.notes) :]:
        on_status(f"note: {note}")
    for _, problem in missing_classes(store):
        if problem not in empty_classes(planned.plan):
            on_status(f"note: {problem} left, so that it cannot be trained on")
    for reason in reasons:
        on_status(f"quarantined: {reason}")
    if quarantined:
        on_status(f"ingest: {quarantined.removeprefix(', ')}, listed in {path / QUARANTINE_FILE}")
    short = pc.sum(pc.less(store.index["z_extent"], info.size[2])).as_py()
    if short:
        on_status(f"note: {short:,} patches are padded, because their scans have fewer than {info.size[2]} slices")


def _quarantined(store: PatchStore) -> tuple[str, list[str]]:
    """The number of quarantined entries in words, and the first reasons."""
    rows = store.quarantine.filter(pc.not_equal(store.quarantine["kind"], "absent")).to_pylist()
    lost = sum(row["samples"] for row in rows)
    text = f", {len(rows)} entries with {lost:,} samples quarantined" if rows else ""
    return text, [row["reason"] for row in rows[:REASONS_SHOWN]]


def _follow_shards(
    reports: Iterator[ShardReport],
    plan: Plan,
    earlier: Sequence[tuple[pa.Table, pa.Table]],
    total: int,
    on_progress: OnProgress,
) -> None:
    """Show the progress; `earlier` are the parts of shards that were finished before."""
    patches = sum(index.num_rows for index, _ in earlier)
    quarantined = sum(sum(lost["samples"].to_pylist()) for _, lost in earlier)
    with progress("ingest", "shards", len(earlier)) as display:
        for number, report in enumerate(reports, len(earlier) + 1):
            patches, quarantined = patches + report.patches, quarantined + report.quarantined
            lost = f", {quarantined:,} quarantined" if quarantined else ""
            text = f"{patches:,} of {plan.table.num_rows:,} patches{lost}"
            display(number, total, text)
            on_progress(number, total, text)
