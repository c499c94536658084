"""Training: from a finished store to a trained model."""

import json
import time
from contextlib import suppress

import pyarrow.compute as pc

from voxray.config.differences import differences
from voxray.config.experiment import Experiment
from voxray.config.load import read_experiment
from voxray.config.rounds import first_round
from voxray.console.signals import catch_termination
from voxray.errors import NotReadyError, VoxrayError
from voxray.executors.base import Executor
from voxray.metrics.registry import find_metric
from voxray.reporting.text.metric_values import inline_label
from voxray.reporting.text.numbers import count
from voxray.reporting.text.sentences import stop_reason
from voxray.runs.folder import RunFolder, run_folder
from voxray.runs.keys import train_key, training_settings
from voxray.runs.read import read_history
from voxray.runs.records import UNKNOWN
from voxray.runs.status import confirm_finished, reported
from voxray.stages.common import OnStatus, is_finished, remove_joined
from voxray.stages.hard_negatives import add_hard_negatives, check_rounds, need_hard_negatives
from voxray.storage.paths import exists, read_bytes, relative_path, to_path
from voxray.store.matching import open_matching_store
from voxray.store.read import PatchStore
from voxray.training.checkpoint import read_metadata, remove_damaged_checkpoints
from voxray.training.fit import epoch_text
from voxray.training.monitors import annotations_key
from voxray.training.tasks import check_settings


def train(experiment: Experiment, executor: Executor, on_status: OnStatus) -> None:
    """Train the network on the finished store; resumes an interrupted training.

    Of two rounds, the first one is trained and searches the training scans before.

    Raises
    ------
    NotReadyError
        The store is not finished.
    StoreError
        The store was made with other settings, or from another data set.
    """
    folder = run_folder(experiment)
    folder.check_vacant(to_path(experiment.model.architecture))
    if experiment.detection.rounds > 1:
        _prepare_second_round(experiment, executor, on_status)
    store = open_matching_store(experiment)
    key = current_train_key(experiment, store)
    record, damage = folder.finished("train"), _damage(folder, key)
    if record and record.key == key and not damage:
        confirm_finished(folder, "train")
        on_status(f"train: finished earlier (in {record.seconds:.0f} s), reused")
        return
    if damage:
        on_status(f"train: {damage}, training again")
    elif exists(folder.model):
        reason = f"{_what_changed(folder, experiment, store)}; " if record else ""
        replaced = f"replaces the model in {folder.path}; its metrics, predictions and report are removed"
        on_status(f"train: {reason}{replaced}")
    if executor.max_workers == 1 and experiment.training.most_workers > 1:
        on_status(f"note: one process takes the steps of {experiment.training.most_workers} workers")
    with folder.locked():
        # Again: another process may have trained or repaired the store meanwhile.
        key = current_train_key(experiment, open_matching_store(experiment))
        if is_trained(folder, key):
            on_status("train: finished by another process meanwhile, reused")
            return
        _train(experiment, executor, on_status, folder, key)


def _prepare_second_round(experiment: Experiment, executor: Executor, on_status: OnStatus) -> None:
    """Train the first round, and add the hard negatives that its network finds to the store."""
    first = first_round(experiment)
    store = open_matching_store(first)
    check_rounds(experiment, masks=store.info.masks)
    on_status("round 1 of 2")
    train(first, executor, on_status)
    store = open_matching_store(first)
    add_hard_negatives(experiment, store, need_training(first, run_folder(first), store), executor, on_status)
    on_status("round 2 of 2")


def _train(experiment: Experiment, executor: Executor, on_status: OnStatus, folder: RunFolder, key: str) -> None:
    with reported(folder, "train", "steps") as on_progress:
        started = time.perf_counter()
        folder.begin("train")
        remove_joined(experiment)
        if problem := remove_damaged_checkpoints(folder.checkpoints):
            on_status(f"train: {problem}; training begins again with the first epoch")
        with executor.session(), catch_termination() as stop:
            executor.fit(experiment, on_progress, stop)
            files = (folder.experiment, folder.architecture, folder.model, folder.history)
            folder.mark_finished("train", key, time.perf_counter() - started, files)
    monitor, epoch = experiment.training.monitor, read_metadata(folder.model)["best_epoch"]
    best = f"{'highest' if find_metric(monitor).higher_is_better else 'lowest'} val {inline_label(monitor)}"
    seconds, history = time.perf_counter() - started, read_history(folder)
    on_status(f"train: {epoch_text(history.slice(history.num_rows - 1).to_pylist()[0], experiment.training)}")
    steps_s = pc.sum(history["seconds"]).as_py()  # of all epochs, also those of an interrupted process
    of_steps = f"{steps_s:.0f} s of training steps in {count(history.num_rows, 'epoch')}"
    stopped = stop_reason(experiment.training, history.num_rows)
    details = "".join(f", {text}" for text in (f"weights of epoch {epoch} ({best})", stopped) if text)
    on_status(f"train: finished in {seconds:.0f} s ({of_steps}){details} → {folder.model}")


def _what_changed(folder: RunFolder, experiment: Experiment, store: PatchStore) -> str:
    """What differs from a finished training."""
    before, now = training_settings(read_experiment(folder.experiment)), training_settings(experiment)
    changed = list(differences(before, now))
    if json.loads(read_bytes(folder.architecture)) != json.loads(read_bytes(to_path(experiment.model.architecture))):
        changed.append("another model.architecture")
    finished = "differ from those of the finished training"
    if changed:
        return f"the settings {finished} ({', '.join(changed)})"
    is_same_content = read_metadata(folder.model).get("store_content") == store.content_digest
    return f"the settings or the architecture {finished}" if is_same_content else f"the store's patches {finished}"


def current_train_key(experiment: Experiment, store: PatchStore) -> str:
    """The key of the training that the experiment describes, on its store."""
    check_settings(experiment, store.info.task, store.info.classes)
    text = read_bytes(to_path(experiment.model.architecture)).decode()
    return train_key(experiment, store.info.digest, store.content_digest, text, annotations_key(experiment))


def is_trained(folder: RunFolder, key: str) -> bool:
    """Whether the training is finished with the inputs that the key names."""
    return is_finished(folder, "train", key) and not _damage(folder, key)


def _damage(folder: RunFolder, key: str) -> str:
    """What happened to the files of the training since it finished, in words; empty where nothing did."""
    record, model = folder.finished("train"), relative_path(folder.path, folder.model)
    if record is None or record.key != key or record.files.get(model) != UNKNOWN:
        return folder.damage("train")
    # An evaluation was killed, which writes the operating point into the model.
    with suppress(VoxrayError):
        if read_metadata(folder.model).get("train_key") == key:
            return ""
    return f"{model} is damaged"


def need_training(experiment: Experiment, folder: RunFolder, store: PatchStore) -> str:
    """The key of the finished training; NotReadyError where it is not finished."""
    if experiment.detection.rounds > 1:
        first = first_round(experiment)
        need_hard_negatives(experiment, need_training(first, run_folder(first), open_matching_store(first)))
    key = current_train_key(experiment, store)
    if not is_trained(folder, key):
        problem = _damage(folder, key) or "no finished training of this experiment"
        raise NotReadyError(str(folder.path), problem, "Run voxray train first")
    return key
