"""A trained model to an operating point, predictions and metrics."""

import json
import time
from typing import Any

from voxray.config.experiment import Experiment
from voxray.console.progress import Show
from voxray.evaluation.patches import judge, judged_splits, load_trained, predict_split
from voxray.evaluation.scans import judge_here, scans_to_judge, write_scan_metrics
from voxray.report.run.contents import read_run
from voxray.runs.folder import evaluate_key, run_folder
from voxray.runs.status import reported
from voxray.stages.common import Say, _cluster, _is_finished, _say_metrics
from voxray.stages.train import _need_training
from voxray.storage.atomic import write_json
from voxray.storage.locks import locked
from voxray.storage.paths import read_bytes
from voxray.store.read import PatchStore, open_store
from voxray.training.fit import make_tracker
from voxray.training.loop import choose_device


def evaluate(experiment: Experiment, say: Say, *, with_ray: bool = True) -> None:
    """Trained model → operating point, predictions and metrics."""
    folder = run_folder(experiment)
    trained = _need_training(experiment, folder)
    key = evaluate_key(experiment, trained)
    if _is_finished(folder, "evaluate", key):
        say("evaluate: finished earlier, reused")
        _say_metrics(json.loads(read_bytes(folder.metrics)), say)
        return
    from voxray.report.run.wandb_media import (
        show_judged,  # matplotlib takes a second that other stages need not wait for
    )

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


def _judge_patches(experiment: Experiment, store: PatchStore, show: Show, with_ray: bool) -> dict[str, Any]:
    splits = judged_splits(store)
    if not with_ray:
        trained = load_trained(experiment, choose_device(experiment.training.device))
        return judge(experiment, {split: [predict_split(experiment, trained, split, (0, 1), show)] for split in splits})
    from voxray.executors.ray.evaluate import predict_on_ray

    with _cluster(True):
        return judge(experiment, predict_on_ray(experiment, splits, show))


def _judge_scans(experiment: Experiment, store: PatchStore, show: Show, with_ray: bool) -> dict[str, Any]:
    cases = {split: scans_to_judge(experiment, store, split) for split in judged_splits(store)}
    if not with_ray:
        device = choose_device(experiment.training.device)
        return write_scan_metrics(
            experiment, {split: list(judge_here(experiment, mine, device, show)) for split, mine in cases.items()}
        )
    from voxray.executors.ray.segment import judge_on_ray

    with _cluster(True):
        return write_scan_metrics(
            experiment, {split: list(judge_on_ray(experiment, mine, show)) for split, mine in cases.items()}
        )
