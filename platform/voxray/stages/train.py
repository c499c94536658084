"""A finished store to a trained model."""

import time

from voxray.config.experiment import Experiment
from voxray.console.signals import catch_sigterm
from voxray.errors import NotReadyError
from voxray.runs.folder import RunFolder, run_folder, train_key
from voxray.runs.status import reported
from voxray.stages.common import OnStatus, _cluster
from voxray.storage.locks import locked
from voxray.storage.paths import exists, read_bytes, to_path
from voxray.store.read import open_store
from voxray.training.fit import fit
from voxray.training.loop import choose_device


def train(experiment: Experiment, on_status: OnStatus, *, with_ray: bool = True) -> None:
    """Finished store → trained model."""
    folder = run_folder(experiment)
    key = current_train_key(experiment)
    record = folder.finished("train")
    if record and record["key"] == key and exists(folder.model):
        on_status(f"train: finished earlier (in {record['seconds']:.0f} s), reused")
        return
    if record:
        on_status("train: the settings differ from those of the finished training, training again")
    if not with_ray and experiment.training.most_workers > 1:
        workers = experiment.training.most_workers
        on_status(f"note: without Ray one process does the work of {workers} workers, in the same steps")
    with locked(folder.path), reported(folder, "train", "steps") as on_progress:
        began = time.perf_counter()
        folder.begin("train")
        # In this order, because Ray sets what SIGTERM does when it connects.
        with _cluster(with_ray), catch_sigterm() as asked:
            if with_ray:
                from voxray.executors.ray.train import train_on_ray

                train_on_ray(experiment, on_progress, stop=asked)
            else:
                fit(experiment, device=choose_device(experiment.training.device), on_progress=on_progress, stop=asked)
            folder.mark_finished("train", key, time.perf_counter() - began)
    on_status(f"train: finished in {time.perf_counter() - began:.0f} s → {folder.model}")


def current_train_key(experiment: Experiment) -> str:
    """Name of the training that the experiment asks for."""
    store = open_store(experiment.store_path)
    text = read_bytes(to_path(experiment.model.architecture)).decode()
    return train_key(experiment, store.info.digest, text)


def _need_training(experiment: Experiment, folder: RunFolder) -> str:
    key = current_train_key(experiment)
    record = folder.finished("train")
    if record is None or record["key"] != key:
        raise NotReadyError(str(folder.path), "holds no finished training of this experiment", "Run voxray train first")
    return key
