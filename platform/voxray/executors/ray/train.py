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
from voxray.console.progress import OnProgress
from voxray.console.signals import Interrupted, never_stop
from voxray.errors import ConfigError, VoxrayError, WorkError
from voxray.executors.ray.connect import count_schedulable_workers, max_cpus_per_worker, node_resources
from voxray.executors.ray.progress_actor import ProgressReporter, follow_progress, original_error
from voxray.runs.folder import run_folder
from voxray.storage.paths import AnyPath

FINISHED, STOPPED = "finished", "stopped"
LOSSES = 3  # of workers, after each of which training goes on from the last epoch
RESIZE_S = 30.0  # between looks whether an elastic training has room for more workers


def train_on_ray(
    experiment: Experiment,
    on_progress: OnProgress,
    *,
    stop: Callable[[], bool] = never_stop,
    share: dict[str, float] | None = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train with as many workers as the experiment asks for; results go to the run's folder.

    A worker that is lost is replaced, and all go on from the last epoch. When a node is announced to go, they go on
    without it from the step where they are. An elastic training does so with as many as there is room for.

    Parameters
    ----------
    experiment : Experiment
    show : callable
    stop : callable
        Whether to end before its time, with a checkpoint.
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
    Stopped
        It was asked to.
    """
    # The annotations of ray.train are those of its first version.
    configs: Any = ray.train
    scaling = _scaling(experiment) if share is None else _shared(experiment, share)
    # A node that was lost a moment ago, or one that is still to come, may keep a training waiting.
    on_progress(0, 0, f"waits for {_wanted(scaling)}")
    with follow_progress(on_progress, stop) as board:
        trainer: Any = ray.train.torch.TorchTrainer(
            _train_worker,  # type: ignore[arg-type]  # what it gives back is new too
            train_loop_config={"experiment": experiment.model_dump(mode="json"), "board": board},
            scaling_config=scaling,
            run_config=configs.RunConfig(
                name="ray_train",
                **_storage(run_folder(experiment).checkpoints),
                failure_config=configs.FailureConfig(max_failures=LOSSES),
                callbacks=[_FailFastOnUserError(board), *callbacks],
            ),
        )
        own = signal.getsignal(signal.SIGINT)
        try:
            while trainer.fit().return_value == STOPPED:
                if stop():
                    raise Interrupted
        except SystemExit:
            # Ray Train answers Ctrl-C by leaving the process; the command line wants to say how to go on.
            raise KeyboardInterrupt from None
        except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
            raise original_error(board, _lost(error)) from error
        finally:
            if threading.current_thread() is threading.main_thread():  # a trial of a search is not
                signal.signal(signal.SIGINT, own)


def _storage(folder: AnyPath) -> dict[str, Any]:
    """Where Ray Train keeps its own notes; ours lie beside them."""
    if isinstance(folder, Path):
        return {"storage_path": str(folder)}
    return {"storage_path": folder.path, "storage_filesystem": PyFileSystem(FSSpecHandler(folder.fs))}


def before_last(experiment: Experiment, report: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Reports each epoch but the last: whoever listens may stop a training, and after the last one it is too late."""
    fold = {} if experiment.split.fold is None else {"fold": experiment.split.fold}

    def on_progress(row: dict[str, Any]) -> None:
        if row["epoch"] < experiment.training.epochs:
            report({**row, **fold})

    return on_progress


def _lost(error: Exception) -> WorkError:
    last = str(error).strip().splitlines()[-1]
    return WorkError("training", f"a worker failed: {last}", "The same command goes on from the last epoch")


def _scaling(experiment: Experiment) -> ray.train.ScalingConfig:
    spec, nodes = experiment.training, node_resources()
    fewest, most = spec.fewest_workers, spec.most_workers
    use_gpu = spec.device == "cuda" or (spec.device == "auto" and count_schedulable_workers(nodes, 0, 1) >= fewest)
    for name, found in (
        ("GPU", count_schedulable_workers(nodes, 0, 1)),
        ("CPU", count_schedulable_workers(nodes, 1, 0)),
    ):
        if found < fewest and (use_gpu or name == "CPU"):
            problem = f"{fewest} workers want a {name} each, the cluster has {found}"
            raise ConfigError("training.workers", problem, "Ask for fewer")
    # Where there is no room for all yet, the nodes that come may be as small as can be.
    cpus = max_cpus_per_worker(nodes, most, int(use_gpu)) or 1
    settings: dict[str, Any] = {
        "num_workers": most if fewest == most else (fewest, most),
        "elastic_resize_monitor_interval_s": RESIZE_S,
    }
    share = {"CPU": cpus, **({"GPU": 1} if use_gpu else {})}
    return ray.train.ScalingConfig(use_gpu=use_gpu, resources_per_worker=share, **settings)


def _wanted(scaling: ray.train.ScalingConfig) -> str:
    """The workers that Ray is asked for, in words: ``2 workers with 1 CPU and 1 GPU each``."""
    resources: Any = scaling.resources_per_worker
    workers: Any = scaling.num_workers
    share = " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
    number = f"{workers[0]} to {workers[1]}" if isinstance(workers, tuple) else str(workers)
    return f"{number} worker{'' if number == '1' else 's'} with {share} each"


def _shared(experiment: Experiment, share: dict[str, float]) -> ray.train.ScalingConfig:
    workers = experiment.training.most_workers
    return ray.train.ScalingConfig(num_workers=workers, use_gpu="GPU" in share, resources_per_worker=share)


class _FailFastOnUserError(ray.train.UserCallback):
    """Ends a training whose worker left a complaint: another try is for workers that were lost."""

    def __init__(self, board: Any) -> None:
        self.board = board

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ARG002
        if ray.get(self.board.read_problem.remote()) is not None:
            raise WorkError("training", "a worker found a mistake")


def _train_worker(config: dict[str, Any]) -> str:
    from voxray.training.fit import fit  # here, so that a worker pays for it and not the driver

    writer = ProgressReporter(config["board"], "rank 0")
    experiment = Experiment.model_validate(config["experiment"])
    assigned = ray.get_runtime_context().get_assigned_resources()
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))

    def stop() -> bool:
        """Whether a node is about to go, or the driver. Ray tells all ranks the same of the nodes, if all ask."""
        return ray.train.get_preemption_info() is not None or bool(ray.get(writer.board.is_stopping.remote()))

    try:
        report = before_last(experiment, ray.train.report)
        fit(experiment, device=ray.train.torch.get_device(), on_progress=writer, report=report, stop=stop)
    except Interrupted:
        return STOPPED
    except VoxrayError as error:
        writer.report_error(error)
        raise
    return FINISHED
