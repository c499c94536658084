"""Scans to a finished patch store."""

import time
from collections.abc import Iterator

import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.console.progress import OnProgress, progress
from voxray.executors.base import Executor
from voxray.patches.plan import Plan, empty_classes
from voxray.runs.folder import run_folder
from voxray.runs.status import heartbeat, reported
from voxray.stages.common import OnStatus
from voxray.stages.outline import RunPlan, plan_run
from voxray.storage.locks import locked
from voxray.storage.paths import exists
from voxray.store.finish import finish_store
from voxray.store.layout import INDEX_FILE, QUARANTINE_FILE, StoreInfo
from voxray.store.read import PatchStore, check_store, open_store
from voxray.store.write import (
    ShardReport,
    forget_parts,
    prepare_store,
    shard_keys,
    unfinished_shards,
)

ASIDE_SHOWN = 5


def ingest(
    experiment: Experiment,
    executor: Executor,
    on_status: OnStatus,
    *,
    verify: bool = False,
    planned: RunPlan | None = None,
) -> None:
    """Scans → finished patch store; `planned` spares another look at the lists, or at a hundred thousand headers."""
    planned = planned or plan_run(experiment)
    for note in [*planned.manifest.notes, *empty_classes(planned.plan)]:
        on_status(f"note: {note}")
    path = experiment.store_path
    with locked(path):
        info = prepare_store(path, planned.plan, planned.manifest)
        if exists(path / INDEX_FILE):
            forget_parts(path)
            on_status(f"ingest: the store {path} is finished, it is reused")
        else:
            _fill_store(experiment, info, planned, executor, on_status)
    if verify:
        store = open_store(path)
        with reported(run_folder(experiment), "verify", "shards") as on_progress:
            for number, name in enumerate(check_store(store), 1):
                on_progress(number, len(shard_keys(info)), name)
        on_status("ingest: every patch agrees with its checksum")


def _fill_store(
    experiment: Experiment, info: StoreInfo, planned: RunPlan, executor: Executor, on_status: OnStatus
) -> None:
    began = time.perf_counter()
    path, root = experiment.store_path, experiment.data_path
    waiting = unfinished_shards(path, info)
    everything = len(shard_keys(info))
    done = everything - len(waiting)
    if done:
        on_status(f"ingest: {done} of {everything} shards are finished already, going on")
    with heartbeat(run_folder(experiment), "ingest", "shards", done) as on_progress:
        reports = executor.write_shards(path, root, waiting)
        _show_shards(reports, planned.plan, done, everything, on_progress)
        made = finish_store(
            path,
            info,
            experiment.patches.oversample_rotations,
            experiment.store.max_quarantined,
            published_split=planned.manifest.published_split,
        )
        store = open_store(path)
        aside, reasons = _quarantined(store)
        on_progress(everything, everything, f"{made.patches:,} patches{aside}")
    on_status(
        f"ingest: {made.patches:,} patches of {info.scans:,} scans in {time.perf_counter() - began:.1f} s → {path}"
    )
    for note in store.info.notes[len(info.notes) :]:
        on_status(f"note: {note}")
    for reason in reasons:
        on_status(f"set aside: {reason}")
    if aside:
        on_status(f"ingest: {aside.removeprefix(', ')}, all in {path / QUARANTINE_FILE}")
    short = pc.sum(pc.less(store.index["z_extent"], info.size[2])).as_py()
    if short:
        on_status(f"note: {short:,} patches come from scans of fewer than {info.size[2]} slices and are padded")


def _quarantined(store: PatchStore) -> tuple[str, list[str]]:
    """How much was set aside, in words, and the first reasons."""
    rows = store.quarantine.filter(pc.not_equal(store.quarantine["kind"], "absent")).to_pylist()
    lost = sum(row["samples"] for row in rows)
    aside = f", {len(rows)} entries with {lost:,} samples set aside" if rows else ""
    return aside, [row["reason"] for row in rows[:ASIDE_SHOWN]]


def _show_shards(
    reports: Iterator[ShardReport], plan: Plan, done: int, everything: int, on_progress: OnProgress
) -> None:
    patches = quarantined = 0
    with progress("ingest", "shards", done) as display:
        for number, report in enumerate(reports, done + 1):
            patches, quarantined = patches + report.patches, quarantined + report.quarantined
            aside = f", {quarantined:,} set aside" if quarantined else ""
            text = f"{patches:,} of {plan.table.num_rows:,} patches{aside}"
            display(number, everything, text)
            on_progress(number, everything, text)
