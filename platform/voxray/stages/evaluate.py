"""Evaluation: from a trained model to predictions, an operating point and metrics."""

import time
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.config.rounds import first_round
from voxray.console.progress import OnProgress
from voxray.datasets.annotated import annotations_digest
from voxray.evaluation.findings import scans_to_search, searched_scans, searches_scans, write_whole_scans
from voxray.evaluation.patches import evaluated_splits, write_patch_metrics
from voxray.evaluation.scans import scans_to_evaluate, write_scan_metrics
from voxray.executors.base import Executor
from voxray.inference.proposing import check_proposing
from voxray.reporting.run.contents import read_run
from voxray.runs.folder import RunFolder, run_folder
from voxray.runs.keys import evaluate_key
from voxray.runs.read import LABEL_MAP, read_metrics, read_predictions
from voxray.runs.status import confirm_finished, reported
from voxray.stages.common import OnStatus, echo_metrics, is_finished, note_calibration, note_undefined, remove_joined
from voxray.stages.scan_check import check_read_again, scans_of
from voxray.stages.train import need_training
from voxray.storage.atomic import write_json
from voxray.storage.paths import AnyPath, exists
from voxray.store.matching import open_matching_store
from voxray.store.read import PatchStore
from voxray.training.fit import make_tracker


def evaluate(experiment: Experiment, executor: Executor, on_status: OnStatus) -> None:
    """Predict the validation and test splits with the trained model and measure its metrics.

    Of two rounds, the network of the first one is evaluated too.

    Raises
    ------
    NotReadyError
        The experiment has not been trained, or the network that proposes candidates.
    StoreError
        Its store was made with other settings, or from another data set.
    """
    if experiment.detection.rounds > 1:
        need_training(experiment, run_folder(experiment), open_matching_store(experiment))
        on_status("round 1 of 2")
        evaluate(first_round(experiment), executor, on_status)
        on_status("round 2 of 2")
    folder = run_folder(experiment)
    store = open_matching_store(experiment)
    trained = need_training(experiment, folder, store)
    key = evaluate_key(experiment, trained)
    if store.info.masks or searches_scans(experiment, store):
        rows = store.index.filter(pc.is_in(store.index["split"], value_set=pa.array(evaluated_splits(store))))
        check_read_again(experiment, store, scans_of(rows), executor.cut_digests, on_status)
    if _is_evaluated(experiment, folder, store, key):
        confirm_finished(folder, "evaluate")
        on_status("evaluate: finished earlier, reused")
        metrics = read_metrics(folder)
        echo_metrics(metrics, experiment.training.monitor, on_status)
        note_undefined(metrics, store, on_status)
        note_calibration(metrics, on_status)
        return
    if searches_scans(experiment, store):
        check_proposing(experiment, store.index)
    if damage := folder.damage("evaluate"):
        on_status(f"evaluate: {damage}, evaluating again")
    with folder.locked():
        # Again: another process may have trained, evaluated or repaired the store meanwhile.
        store = open_matching_store(experiment)
        trained = need_training(experiment, folder, store)
        if _is_evaluated(experiment, folder, store, evaluate_key(experiment, trained)):
            on_status("evaluate: finished by another process meanwhile, reused")
            metrics = read_metrics(folder)
        else:
            metrics = _evaluate(experiment, executor, folder, store, trained)
    echo_metrics(metrics, experiment.training.monitor, on_status)
    note_undefined(metrics, store, on_status)
    note_calibration(metrics, on_status)


def _is_evaluated(experiment: Experiment, folder: RunFolder, store: PatchStore, key: str) -> bool:
    """Whether the evaluation is finished, with the annotations that are there now; without any those it had count."""
    if not is_finished(folder, "evaluate", key):
        return False
    now = None if store.info.masks else annotations_digest(experiment)
    return now is None or all(metrics.get("annotations") == now for metrics in read_metrics(folder).values())


def _evaluate(
    experiment: Experiment, executor: Executor, folder: RunFolder, store: PatchStore, trained: str
) -> dict[str, Any]:
    """Evaluate the training with the key `trained`, and record it; returns the metrics."""
    from voxray.reporting.run.wandb_media import log_evaluation  # imports matplotlib, which takes a second

    unit, evaluate_splits = TASKS[store.info.task]
    key = evaluate_key(experiment, trained)  # the network that proposes may be trained again meanwhile
    with reported(folder, "evaluate", unit) as on_progress:
        started = time.perf_counter()
        folder.begin("evaluate", rewritten=(folder.experiment, folder.model))
        folder.remove_evaluation()
        remove_joined(experiment)
        # The settings of the training are the same; those of the evaluation may have changed.
        write_json(folder.experiment, experiment.model_dump(mode="json"))
        metrics = evaluate_splits(experiment, store, executor, on_progress)
        with make_tracker(experiment, trained) as tracker, tracker.attempt():
            log_evaluation(tracker, read_run(folder.path, store))
        folder.mark_finished("evaluate", key, time.perf_counter() - started, _written(folder, list(metrics)))
    return metrics


def _written(folder: RunFolder, splits: Sequence[str]) -> Iterator[AnyPath]:
    """The files that an evaluation of these splits wrote."""
    yield from (folder.experiment, folder.model, folder.metrics)
    for split in splits:
        yield from filter(exists, folder.split_tables(split))
        table = read_predictions(folder, split)
        if LABEL_MAP in table.column_names:
            yield from (folder.path / name for name in table[LABEL_MAP].to_pylist())


def _evaluate_patches(
    experiment: Experiment, store: PatchStore, executor: Executor, on_progress: OnProgress
) -> dict[str, Any]:
    splits = evaluated_splits(store)
    with executor.session():
        metrics = write_patch_metrics(experiment, executor.predict_splits(experiment, splits, on_progress))
        if searches_scans(experiment, store):
            cases = scans_to_search(experiment, store, splits)
            files = [(case["scan_id"], case["file"]) for case in cases]
            outcomes = executor.find_in_scans(experiment, files, on_progress)
            metrics = write_whole_scans(experiment, metrics, searched_scans(cases, outcomes))
    return metrics


def _evaluate_scans(
    experiment: Experiment, store: PatchStore, executor: Executor, on_progress: OnProgress
) -> dict[str, Any]:
    cases = {split: scans_to_evaluate(experiment, store, split) for split in evaluated_splits(store)}
    with executor.session():
        evaluated = {
            split: list(executor.evaluate_scans(experiment, scans, on_progress)) for split, scans in cases.items()
        }
    return write_scan_metrics(experiment, evaluated)


# Of each task, the unit of progress and the function that writes predictions and metrics.
TASKS = {"classification": ("steps", _evaluate_patches), "segmentation": ("scans", _evaluate_scans)}
