"""Training on Ray Train V2: one worker a rank, the loop of `voxray.training.loop` inside."""

import signal
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch
from pyarrow.fs import FSSpecHandler, PyFileSystem

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, VoxrayError, WorkError
from voxray.on_ray.board import Writer, followed, in_own_words
from voxray.places import Place
from voxray.progress import Show


def train_on_ray(
    experiment: Experiment,
    show: Show,
    *,
    share: dict[str, float] | None = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train with as many workers as the experiment asks for; results go to the run's folder.

    Parameters
    ----------
    experiment : Experiment
    show : callable
    share : dict, optional
        Resources of each worker, such as ``{"CPU": 1}``; else the workers share the whole cluster.
    callbacks : sequence
        Ray Train's own, told of each epoch but the last.

    Raises
    ------
    ConfigError
        The cluster has fewer CPUs or GPUs than there are workers.
    WorkError
        Training failed.
    """
    with followed(show) as board:
        trainer = ray.train.torch.TorchTrainer(
            _train_worker,
            train_loop_config={"experiment": experiment.model_dump(mode="json"), "board": board},
            scaling_config=_scaling(experiment) if share is None else _shared(experiment, share),
            run_config=ray.train.RunConfig(
                name="ray_train",
                **_storage(experiment.out_path / "checkpoints"),
                failure_config=ray.train.FailureConfig(max_failures=0),
                callbacks=list(callbacks),
            ),
        )
        own = signal.getsignal(signal.SIGINT)
        try:
            trainer.fit()
        except SystemExit:
            # Ray Train answers Ctrl-C by leaving the process; the command line wants to say how to go on.
            raise KeyboardInterrupt from None
        except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
            raise in_own_words(board, _lost(error)) from error
        finally:
            if threading.current_thread() is threading.main_thread():  # a trial of a search is not
                signal.signal(signal.SIGINT, own)


def _storage(folder: Place) -> dict[str, Any]:
    """Where Ray Train keeps its own notes; ours lie beside them."""
    if isinstance(folder, Path):
        return {"storage_path": str(folder)}
    return {"storage_path": folder.path, "storage_filesystem": PyFileSystem(FSSpecHandler(folder.fs))}


def before_last(experiment: Experiment, report: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Reports each epoch but the last: whoever listens may stop a training, and after the last one it is too late."""
    fold = {} if experiment.split.fold is None else {"fold": experiment.split.fold}

    def tell(row: dict[str, Any]) -> None:
        if row["epoch"] < experiment.training.epochs:
            report({**row, **fold})

    return tell


def _lost(error: Exception) -> WorkError:
    last = str(error).strip().splitlines()[-1]
    return WorkError("training", f"a worker failed: {last}", "The same command goes on from the last epoch")


def _scaling(experiment: Experiment) -> ray.train.ScalingConfig:
    workers = experiment.training.workers
    resources = ray.cluster_resources()
    gpus, cpus = resources.get("GPU", 0), resources.get("CPU", 0)
    device = experiment.training.device
    use_gpu = device == "cuda" or (device == "auto" and gpus >= workers)
    if use_gpu and gpus < workers:
        raise ConfigError(
            "training.workers", f"{workers} workers want a GPU each, the cluster has {gpus:g}", "Ask for fewer"
        )
    share = int(cpus // workers)
    if share < 1:
        raise ConfigError(
            "training.workers", f"{workers} workers want a CPU each, the cluster has {cpus:g}", "Ask for fewer"
        )
    # On CPUs a worker takes its whole share of them; beside a GPU two are enough to feed it.
    cpus_each = min(share, 2) if use_gpu else share
    return ray.train.ScalingConfig(
        num_workers=workers, use_gpu=use_gpu, resources_per_worker={"CPU": cpus_each, **({"GPU": 1} if use_gpu else {})}
    )


def _shared(experiment: Experiment, share: dict[str, float]) -> ray.train.ScalingConfig:
    workers = experiment.training.workers
    return ray.train.ScalingConfig(num_workers=workers, use_gpu="GPU" in share, resources_per_worker=share)


def _train_worker(config: dict[str, Any]) -> None:
    from voxray.runs.fit import fit  # here, so that a worker pays for it and not the driver

    writer = Writer(config["board"], "rank 0")
    experiment = Experiment.model_validate(config["experiment"])
    assigned = ray.get_runtime_context().get_assigned_resources()
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
    try:
        report = before_last(experiment, ray.train.report)
        fit(experiment, device=ray.train.torch.get_device(), show=writer, report=report)
    except VoxrayError as error:
        writer.complain(error)
        raise
