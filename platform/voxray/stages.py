"""The stages of a run, each with and without Ray: ingest → train → evaluate → report.

A stage that is finished and whose inputs are the same is not repeated; it says so.
"""

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from voxray.config.experiment import Experiment, load_experiment
from voxray.config.folds import fold_experiments
from voxray.datasets.manifest import Manifest
from voxray.errors import ConfigError, DataError, NotReadyError, WorkError
from voxray.files import write_json
from voxray.inspection.facts import FACTS, cut_targets, look_at
from voxray.inspection.subject import Subject, read_experiment_subject, read_subject
from voxray.inspection.summary import Inspection, complete
from voxray.locks import locked
from voxray.models.cost import Cost
from voxray.patches.plan import Plan, empty_classes
from voxray.patches.planned import plan_experiment
from voxray.places import Place, exists, place, read_bytes
from voxray.progress import Show, progress
from voxray.report.contents import read_run
from voxray.runs.fit import Network, check_class_weights, fit, load_network, make_tracker
from voxray.runs.folder import RunFolder, evaluate_key, run_folder, train_key
from voxray.runs.folds import join_folds
from voxray.runs.judge import check_unit, judge, judged_splits, load_trained, predict_split
from voxray.runs.judge_scans import judge_here, scans_to_judge, write_scan_metrics
from voxray.runs.machine import check_memory
from voxray.runs.predict import Options, check_scans, predict_here, scan_name
from voxray.runs.status import heartbeat, reported
from voxray.store.finish import finish_store
from voxray.store.layout import INDEX_FILE, QUARANTINE_FILE, StoreInfo
from voxray.store.read import PatchStore, check_store, open_store
from voxray.store.write import (
    ShardReport,
    count_channels,
    forget_parts,
    prepare_store,
    shard_keys,
    unfinished_shards,
    write_shard,
)
from voxray.termination import termination_noted
from voxray.training.checkpoint import read_about
from voxray.training.loop import choose_device

Say = Callable[[str], None]
ASIDE_SHOWN = 5
SAID = ("recall", "precision", "error", "roc_auc", "dice")  # figures that a terminal shows


@dataclass(frozen=True)
class Outline:
    """What an experiment will do, before it does it."""

    manifest: Manifest
    plan: Plan
    channels: int
    network: Network
    cost: Cost
    device: torch.device  # that training would take on this machine
    rotations: int  # of each positive patch, beside itself

    @property
    def training_rows(self) -> int:
        """Patches of an epoch."""
        return self.plan.count("train") + self.rotated_rows

    @property
    def rotated_rows(self) -> int:
        """Those of them that are rotations of others."""
        return self.rotations * (self.plan.count("train") - self.plan.count("train", 0))


def outline(experiment: Experiment) -> Outline:
    """Read the lists of the data set, plan the patches and check the architecture; opens a few scans at most."""
    manifest, plan = plan_experiment(experiment)
    path = place(experiment.model.architecture)
    check_class_weights(experiment, plan.classes)
    channels = count_channels(plan, manifest)
    if len(windows := experiment.intensity.windows) not in (1, channels):
        problem = f"wants one window, or one for each of {channels} channels, got {len(windows)}"
        raise ConfigError("intensity.window", problem, "Give as many")
    check_unit(experiment, plan)
    network = load_network(path, (channels, *experiment.patches.size), len(plan.classes))
    gpu = experiment.training.device != "cpu" and torch.cuda.is_available()
    cost = network.cost(len(plan.classes), experiment.training, gpu=gpu)
    device = torch.device("cuda" if gpu else "cpu")
    return Outline(manifest, plan, channels, network, cost, device, len(experiment.patches.rotations))


def ingest(
    experiment: Experiment, say: Say, *, with_ray: bool = True, verify: bool = False, planned: Outline | None = None
) -> None:
    """Scans → finished patch store; `planned` spares another look at the lists, or at a hundred thousand headers."""
    planned = planned or outline(experiment)
    for note in [*planned.manifest.notes, *empty_classes(planned.plan)]:
        say(f"note: {note}")
    path = experiment.store_path
    with locked(path):
        info = prepare_store(path, planned.plan, planned.manifest)
        if exists(path / INDEX_FILE):
            forget_parts(path)
            say(f"ingest: the store {path} is finished, it is reused")
        else:
            _fill_store(experiment, info, planned, say, with_ray)
    if verify:
        store = open_store(path)
        with reported(run_folder(experiment), "verify", "shards") as show:
            for number, name in enumerate(check_store(store), 1):
                show(number, len(shard_keys(info)), name)
        say("ingest: every patch agrees with its checksum")


def _fill_store(experiment: Experiment, info: StoreInfo, planned: Outline, say: Say, with_ray: bool) -> None:
    began = time.perf_counter()
    path, root = experiment.store_path, experiment.data_path
    waiting = unfinished_shards(path, info)
    everything = len(shard_keys(info))
    done = everything - len(waiting)
    if done:
        say(f"ingest: {done} of {everything} shards are finished already, going on")
    with heartbeat(run_folder(experiment), "ingest", "shards", done) as tell:
        with _cluster(with_ray and bool(waiting)):
            reports = _shards(path, root, experiment.patches.fill, waiting, with_ray)
            _show_shards(reports, planned.plan, done, everything, tell)
        made = finish_store(
            path,
            info,
            experiment.patches.rotations,
            experiment.store.max_quarantined,
            published_split=planned.manifest.published_split,
        )
        store = open_store(path)
        aside, reasons = _set_aside(store)
        tell(everything, everything, f"{made.patches:,} patches{aside}")
    say(f"ingest: {made.patches:,} patches of {info.scans:,} scans in {time.perf_counter() - began:.1f} s → {path}")
    for note in store.info.notes[len(info.notes) :]:
        say(f"note: {note}")
    for reason in reasons:
        say(f"set aside: {reason}")
    if aside:
        say(f"ingest: {aside.removeprefix(', ')}, all in {path / QUARANTINE_FILE}")
    short = pc.sum(pc.less(store.index["z_extent"], info.size[2])).as_py()
    if short:
        say(f"note: {short:,} patches come from scans of fewer than {info.size[2]} slices and are padded")


def _set_aside(store: PatchStore) -> tuple[str, list[str]]:
    """How much was set aside, in words, and the first reasons."""
    rows = store.quarantine.filter(pc.not_equal(store.quarantine["kind"], "absent")).to_pylist()
    lost = sum(row["samples"] for row in rows)
    aside = f", {len(rows)} entries with {lost:,} samples set aside" if rows else ""
    return aside, [row["reason"] for row in rows[:ASIDE_SHOWN]]


def train(experiment: Experiment, say: Say, *, with_ray: bool = True) -> None:
    """Finished store → trained model."""
    folder = run_folder(experiment)
    key = current_train_key(experiment)
    record = folder.finished("train")
    if record and record["key"] == key and exists(folder.model):
        say(f"train: finished earlier (in {record['seconds']:.0f} s), reused")
        return
    if record:
        say("train: the settings differ from those of the finished training, training again")
    if not with_ray and experiment.training.most_workers > 1:
        workers = experiment.training.most_workers
        say(f"note: without Ray one process does the work of {workers} workers, in the same steps")
    with locked(folder.path), reported(folder, "train", "steps") as show:
        began = time.perf_counter()
        folder.begin("train")
        # In this order, because Ray sets what SIGTERM does when it connects.
        with _cluster(with_ray), termination_noted() as asked:
            if with_ray:
                from voxray.on_ray.train import train_on_ray

                train_on_ray(experiment, show, stop=asked)
            else:
                fit(experiment, device=choose_device(experiment.training.device), show=show, stop=asked)
            folder.mark_finished("train", key, time.perf_counter() - began)
    say(f"train: finished in {time.perf_counter() - began:.0f} s → {folder.model}")


def evaluate(experiment: Experiment, say: Say, *, with_ray: bool = True) -> None:
    """Trained model → operating point, predictions and metrics."""
    folder = run_folder(experiment)
    trained = _need_training(experiment, folder)
    key = evaluate_key(experiment, trained)
    if _is_finished(folder, "evaluate", key):
        say("evaluate: finished earlier, reused")
        _say_metrics(json.loads(read_bytes(folder.metrics)), say)
        return
    from voxray.runs.shown import show_judged  # matplotlib takes a second that other stages need not wait for

    store = open_store(experiment.store_path)
    unit = "scans" if store.info.masks else "steps"
    with locked(folder.path), reported(folder, "evaluate", unit) as show:
        began = time.perf_counter()
        folder.begin("evaluate")
        # Its training part is what it was; what it says of evaluation may have changed since.
        write_json(folder.experiment, experiment.model_dump(mode="json"))
        judging = _judge_scans if store.info.masks else _judge_patches
        metrics = judging(experiment, store, show, with_ray)
        with make_tracker(experiment, trained) as tracker:
            show_judged(tracker, read_run(folder.path, store))
        folder.mark_finished("evaluate", key, time.perf_counter() - began)
    _say_metrics(metrics, say)


def report(experiment: Experiment, say: Say) -> Place:
    """Everything in the run's folder → one HTML file."""
    folder = run_folder(experiment)
    key = evaluate_key(experiment, _need_training(experiment, folder))
    if not _is_finished(folder, "evaluate", key):
        raise NotReadyError(str(folder.path), "holds no finished evaluation of this", "Run voxray evaluate first")
    from voxray.report.page import write_report

    with heartbeat(folder, "report", "pages") as tell:
        write_report(folder.report, read_run(folder.path, open_store(experiment.store_path)))
        tell(1, 1, "")
    say(f"report: {folder.report}")
    return folder.report


def run(experiment: Experiment, say: Say, *, with_ray: bool = True) -> None:
    """All stages; with folds, those of each fold and then the figures of all of them."""
    if experiment.split.folds is not None and experiment.split.fold is None:
        _cross_validate(experiment, say, with_ray)
        return
    planned = outline(experiment)
    for problem in empty_classes(planned.plan, splits=("train", "val")):
        remedy = "Give more scans, another seed, or larger shares in [split]"
        raise DataError(experiment.data.root, problem, remedy)
    if not (with_ray and os.environ.get("RAY_ADDRESS")):  # on a cluster it is another machine that trains
        check_memory(planned.cost, experiment.training.batch_size, planned.device)
    with _cluster(with_ray and not _is_all_finished(experiment)):
        ingest(experiment, say, with_ray=with_ray, planned=planned)
        train(experiment, say, with_ray=with_ray)
        evaluate(experiment, say, with_ray=with_ray)
    report(experiment, say)


def _cross_validate(experiment: Experiment, say: Say, with_ray: bool) -> None:
    from voxray.report.folds import write_fold_report

    folds = fold_experiments(experiment)
    with (
        heartbeat(run_folder(experiment), "folds", "folds") as tell,
        _cluster(with_ray and not all(map(_is_all_finished, folds))),
    ):
        for number, fold in enumerate(folds):
            say(f"fold {number} of {len(folds)}")
            run(fold, say, with_ray=with_ray)
            tell(number + 1, len(folds), "")
        metrics = join_folds(experiment, folds)
    _say_metrics(metrics, say)
    path = run_folder(experiment).report
    write_fold_report(path, experiment, metrics)
    say(f"report: {path}")


def _is_finished(folder: RunFolder, stage: str, key: str) -> bool:
    record = folder.finished(stage)
    return record is not None and record["key"] == key


def _is_all_finished(experiment: Experiment) -> bool:
    """Whether nothing is left that needs a cluster."""
    if not exists(experiment.store_path / INDEX_FILE):
        return False
    folder, trained = run_folder(experiment), current_train_key(experiment)
    return _is_finished(folder, "train", trained) and _is_finished(
        folder, "evaluate", evaluate_key(experiment, trained)
    )


def _judge_patches(experiment: Experiment, store: PatchStore, show: Show, with_ray: bool) -> dict[str, Any]:
    splits = judged_splits(store)
    if not with_ray:
        trained = load_trained(experiment, choose_device(experiment.training.device))
        return judge(experiment, {split: [predict_split(experiment, trained, split, (0, 1), show)] for split in splits})
    from voxray.on_ray.evaluate import predict_on_ray

    with _cluster(True):
        return judge(experiment, predict_on_ray(experiment, splits, show))


def _judge_scans(experiment: Experiment, store: PatchStore, show: Show, with_ray: bool) -> dict[str, Any]:
    cases = {split: scans_to_judge(experiment, store, split) for split in judged_splits(store)}
    if not with_ray:
        device = choose_device(experiment.training.device)
        return write_scan_metrics(
            experiment, {split: list(judge_here(experiment, mine, device, show)) for split, mine in cases.items()}
        )
    from voxray.on_ray.segment import judge_on_ray

    with _cluster(True):
        return write_scan_metrics(
            experiment, {split: list(judge_on_ray(experiment, mine, show)) for split, mine in cases.items()}
        )


def predict(run: Place, scans: Sequence[Place], options: Options, say: Say, *, with_ray: bool = True) -> None:
    """Whole scans → label maps, or verdicts."""
    check_scans(scans)
    if options.mask is not None and len(scans) > 1:
        raise DataError("--mask", f"is the mask of one scan, got {len(scans)} scans", "Predict them one by one")
    read_about(RunFolder(run).model)
    absolute = [path.absolute() for path in scans]
    options = replace(options, out=options.out.resolve(), mask=options.mask and options.mask.resolve())
    lost = 0
    with reported(RunFolder(options.out), "predict", "scans") as show, _cluster(with_ray):
        if with_ray:
            from voxray.on_ray.segment import predict_on_ray

            outcomes = predict_on_ray(run.resolve(), absolute, options, show)
        else:
            outcomes = predict_here(run.resolve(), absolute, options, choose_device("auto"), show)
        for path, outcome in outcomes:
            say(f"predict: {scan_name(path)}: {outcome}")
            lost += outcome.startswith("left out")
        if lost:
            raise WorkError("predict", f"{lost} of {len(scans)} scans were left out", "The reasons stand above")


def inspect(
    source: Place,
    say: Say,
    *,
    settings: Sequence[str] = (),
    out: Place | None = None,
    voxels: bool = False,
    with_ray: bool = True,
) -> Inspection:
    """A folder of scans, or an experiment's data → what it holds and what is wrong, as a page, JSON and a table."""
    if isinstance(source, Path) and source.suffix == ".toml":
        experiment = load_experiment(source, settings)
        subject, folder = read_experiment_subject(experiment), experiment.out_path / "inspection"
    else:
        subject = read_subject(source)
        folder = Path("runs", "inspection", subject.name)
    folder = out or folder
    found = [FACTS.empty_table()]
    with locked(folder), reported(RunFolder(folder), "inspect", "scans") as show:
        for facts in _look(subject, voxels, with_ray):
            found.append(facts)
            show(sum(each.num_rows for each in found), subject.targets.num_rows, "")
        inspection = complete(subject, pa.concat_tables(found), voxels)
        from voxray.report.inspection import write_inspection  # matplotlib, as for the report

        page = write_inspection(folder, inspection)
    say(f"inspect: {page}")
    return inspection


def _look(subject: Subject, voxels: bool, with_ray: bool) -> Iterator[pa.Table]:
    root, classes = subject.manifest.root.resolve(), subject.mask_classes
    pieces = cut_targets(subject.targets, voxels)
    if with_ray and pieces:
        from voxray.on_ray.inspect import look_on_ray

        with _cluster(True):
            yield from look_on_ray(root, pieces, classes, voxels)
        return
    yield from (look_at(root, piece, classes, voxels) for piece in pieces)


def current_train_key(experiment: Experiment) -> str:
    """Name of the training that the experiment asks for."""
    store = open_store(experiment.store_path)
    text = read_bytes(place(experiment.model.architecture)).decode()
    return train_key(experiment, store.info.digest, text)


def _need_training(experiment: Experiment, folder: RunFolder) -> str:
    key = current_train_key(experiment)
    record = folder.finished("train")
    if record is None or record["key"] != key:
        raise NotReadyError(str(folder.path), "holds no finished training of this experiment", "Run voxray train first")
    return key


def _cluster(wanted: bool) -> AbstractContextManager[None]:
    """A Ray cluster for the time of a block, or nothing. Ray is imported where it is used: all else works without."""
    if not wanted:
        return nullcontext()
    from voxray.on_ray.connect import cluster

    return cluster()


def _shards(
    path: Place, root: Place, fill: float, keys: list[tuple[str, int]], with_ray: bool
) -> Iterator[ShardReport]:
    if with_ray and keys:
        from voxray.on_ray.ingest import write_shards

        yield from write_shards(path, root, fill, keys)
        return
    for split, shard in keys:
        yield write_shard(path, root, fill, split, shard)


def _show_shards(reports: Iterator[ShardReport], plan: Plan, done: int, everything: int, tell: Show) -> None:
    patches = quarantined = 0
    with progress("ingest", "shards", done) as show:
        for number, report in enumerate(reports, done + 1):
            patches, quarantined = patches + report.patches, quarantined + report.quarantined
            aside = f", {quarantined:,} set aside" if quarantined else ""
            text = f"{patches:,} of {plan.table.num_rows:,} patches{aside}"
            show(number, everything, text)
            tell(number, everything, text)


def _say_metrics(metrics: dict[str, Any], say: Say) -> None:
    for split, values in metrics.items():
        wanted = [name for name in values["intervals"] if name in SAID or name.startswith("dice/")]
        say(f"evaluate: {split}: {', '.join(_figure(values, name) for name in wanted)}")


def _figure(values: dict[str, Any], name: str) -> str:
    numbers = [values[name], *values["intervals"][name]]
    value, low, high = ("–" if number is None else f"{number:.3f}" for number in numbers)
    return f"{name} {value} [{low}, {high}]"
