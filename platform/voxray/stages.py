"""The stages of a run, each with and without Ray: ingest → train → evaluate → report.

A stage that is finished and whose inputs are the same is not repeated; it says so.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest
from voxray.errors import DataError, VoxrayError
from voxray.models.shapes import count_parameters, infer_shapes
from voxray.patches.plan import Plan, plan_patches
from voxray.progress import progress
from voxray.report.contents import read_run
from voxray.report.page import write_report
from voxray.runs.fit import fit, load_network, make_tracker
from voxray.runs.folder import RunFolder, evaluate_key, run_folder, train_key
from voxray.runs.judge import judge, judged_splits, predict_split
from voxray.store.finish import finish_store
from voxray.store.layout import INDEX_FILE
from voxray.store.read import check_store, open_store
from voxray.store.write import ShardReport, prepare_store, shard_keys, unfinished_shards, write_shard
from voxray.training.loop import choose_device

Say = Callable[[str], None]


@dataclass(frozen=True)
class Outline:
    """What an experiment will do, before it does it."""

    manifest: Manifest
    plan: Plan
    parameters: int


def outline(experiment: Experiment) -> Outline:
    """Read the lists of the data set, plan the patches and check the architecture; touches no voxel."""
    manifest = read_manifest(experiment.data)
    plan = plan_patches(manifest, experiment)
    path = Path(experiment.model.architecture)
    # Channels are known once a scan is opened; the count here is for one channel, as in CT.
    network = load_network(path, (1, *experiment.patches.size), len(plan.classes))
    shapes = infer_shapes(network.layers, network.input_shape, len(plan.classes), str(path))
    return Outline(manifest, plan, count_parameters(shapes))


def check_classes(plan: Plan) -> list[str]:
    """One line for each class that is empty in a split."""
    return [
        f"split '{split}' has no patch of class '{name}'"
        for split in ("train", "val", *(["test"] if "test" in plan.shards else []))
        for label, name in enumerate(plan.classes)
        if plan.count(split, label) == 0
    ]


def ingest(experiment: Experiment, say: Say, *, with_ray: bool = True, verify: bool = False) -> None:
    """Scans → finished patch store."""
    began = time.perf_counter()
    planned = outline(experiment)
    for note in [*planned.manifest.notes, *check_classes(planned.plan)]:
        say(f"note: {note}")
    path, root = experiment.store_path, Path(experiment.data.root)
    info = prepare_store(path, planned.plan, planned.manifest)
    if (path / INDEX_FILE).exists():
        say(f"ingest: the store {path} is finished, it is reused")
    else:
        waiting = unfinished_shards(path, info)
        everything = len(shard_keys(info))
        if len(waiting) < everything:
            say(f"ingest: {everything - len(waiting)} of {everything} shards are finished already, going on")
        fill = experiment.patches.fill
        with _cluster(with_ray and bool(waiting)):
            reports = _shards(path, root, fill, waiting, with_ray)
            _show_shards(reports, planned.plan, everything - len(waiting), everything)
        done = finish_store(path, info, experiment.patches.rotations, experiment.store.max_quarantined)
        seconds = time.perf_counter() - began
        say(f"ingest: {done.patches:,} patches of {info.scans:,} scans in {seconds:.1f} s → {path}")
        if done.quarantined_samples or done.quarantined_scans:
            scans, samples = done.quarantined_scans, done.quarantined_samples
            say(
                f"ingest: {scans} scans and {samples} samples set aside, with reasons, in {path / 'quarantine.parquet'}"
            )
    if verify:
        store = open_store(path)
        with progress("verify", "shards") as show:
            for number, name in enumerate(check_store(store), 1):
                show(number, len(shard_keys(info)), name)
        say("ingest: every patch agrees with its checksum")


def train(experiment: Experiment, say: Say, *, with_ray: bool = True) -> None:
    """Finished store → trained model."""
    folder = run_folder(experiment)
    key = current_train_key(experiment)
    record = folder.finished("train")
    if record and record["key"] == key and folder.model.exists():
        say(f"train: finished earlier (in {record['seconds']:.0f} s), reused")
        return
    if record:
        say("train: the settings differ from those of the finished training, training again")
    began = time.perf_counter()
    with progress("train", "steps") as show:
        if with_ray:
            from voxray.on_ray.train import train_on_ray

            with _cluster(True):
                train_on_ray(experiment, show)
        else:
            fit(experiment, device=choose_device(experiment.training.device), show=show)
    seconds = time.perf_counter() - began
    folder.mark_finished("train", key, seconds)
    say(f"train: finished in {seconds:.0f} s → {folder.model}")


def evaluate(experiment: Experiment, say: Say, *, with_ray: bool = True) -> None:
    """Trained model → operating point, predictions and metrics."""
    folder = run_folder(experiment)
    trained = _need_training(experiment, folder)
    key = evaluate_key(experiment, trained)
    record = folder.finished("evaluate")
    if record and record["key"] == key and folder.metrics.exists():
        say("evaluate: finished earlier, reused")
        _say_metrics(json.loads(folder.metrics.read_text(encoding="utf-8")), say)
        return
    began = time.perf_counter()
    splits = judged_splits(open_store(experiment.store_path))
    with progress("evaluate", "steps") as show:
        if with_ray:
            from voxray.on_ray.evaluate import predict_on_ray

            with _cluster(True):
                parts = predict_on_ray(experiment, splits, show)
        else:
            device = choose_device(experiment.training.device)
            parts = {split: [predict_split(experiment, split, device, (0, 1), show)] for split in splits}
    metrics = judge(experiment, parts)
    with make_tracker(experiment, trained) as tracker:
        tracker.log_summary(metrics)
    folder.mark_finished("evaluate", key, time.perf_counter() - began)
    _say_metrics(metrics, say)


def report(experiment: Experiment, say: Say) -> Path:
    """Everything in the run's folder → one HTML file."""
    folder = run_folder(experiment)
    if not folder.metrics.exists():
        raise VoxrayError(str(folder.path), "there are no metrics to report yet", "Run voxray evaluate first")
    write_report(folder.report, read_run(folder.path, open_store(experiment.store_path)))
    say(f"report: {folder.report}")
    return folder.report


def run(experiment: Experiment, say: Say, *, with_ray: bool = True) -> None:
    """All stages."""
    planned = outline(experiment)
    for problem in check_classes(planned.plan):
        if not problem.startswith("split 'test'"):
            remedy = "Give more scans, another seed, or larger shares in [split]"
            raise DataError(experiment.data.root, problem, remedy)
    with _cluster(with_ray):
        ingest(experiment, say, with_ray=with_ray)
        train(experiment, say, with_ray=with_ray)
        evaluate(experiment, say, with_ray=with_ray)
    report(experiment, say)


def current_train_key(experiment: Experiment) -> str:
    """Name of the training that the experiment asks for."""
    store = open_store(experiment.store_path)
    text = Path(experiment.model.architecture).read_text(encoding="utf-8")
    return train_key(experiment, store.info.digest, text)


def _need_training(experiment: Experiment, folder: RunFolder) -> str:
    key = current_train_key(experiment)
    record = folder.finished("train")
    if record is None or record["key"] != key:
        raise VoxrayError(str(folder.path), "holds no finished training of this experiment", "Run voxray train first")
    return key


def _cluster(wanted: bool) -> AbstractContextManager[None]:
    """A Ray cluster for the time of a block, or nothing. Ray is imported where it is used: all else works without."""
    if not wanted:
        return nullcontext()
    from voxray.on_ray.connect import cluster

    return cluster()


def _shards(path: Path, root: Path, fill: float, keys: list[tuple[str, int]], with_ray: bool) -> Iterator[ShardReport]:
    if with_ray and keys:
        from voxray.on_ray.ingest import write_shards

        yield from write_shards(path, root, fill, keys)
        return
    for split, shard in keys:
        yield write_shard(path, root, fill, split, shard)


def _show_shards(reports: Iterator[ShardReport], plan: Plan, done: int, everything: int) -> None:
    patches = quarantined = 0
    with progress("ingest", "shards", done) as show:
        for number, report in enumerate(reports, done + 1):
            patches, quarantined = patches + report.patches, quarantined + report.quarantined
            aside = f", {quarantined:,} set aside" if quarantined else ""
            show(number, everything, f"{patches:,} of {plan.table.num_rows:,} patches{aside}")


def _say_metrics(metrics: dict[str, Any], say: Say) -> None:
    for split, values in metrics.items():
        figures = ", ".join(_figure(values, name) for name in ("recall", "precision", "error", "roc_auc"))
        say(f"evaluate: {split}: {figures}")


def _figure(values: dict[str, Any], name: str) -> str:
    numbers = [values[name], *values["intervals"][name]]
    value, low, high = ("–" if number is None else f"{number:.3f}" for number in numbers)
    return f"{name} {value} [{low}, {high}]"
