"""Training on Ray Train V2: one worker for each rank, which runs the loop of `voxray.training.loop`."""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from voxray.executors.ray.progress_actor import ProgressReporter, cause, follow_progress, original_error
from voxray.runs.folder import run_folder
from voxray.storage.paths import AnyPath, remove_folder

FINISHED, STOPPED = "finished", "stopped"
RAY_TRAIN = "ray_train"  # a folder beside the checkpoints
MAX_FAILURES = 3  # lost workers; after each, training resumes from the last epoch
RESIZE_S = 30.0  # between checks for resources of more workers, in elastic training


def train_on_ray(
    experiment: Experiment,
    on_progress: OnProgress,
    *,
    stop: Callable[[], bool] = never_stop,
    resources: dict[str, float] | None = None,
    callbacks: Sequence[Any] = (),
) -> None:
    """Train with as many workers as the experiment sets; results go to the run's folder.

    A lost worker is replaced, and all resume from the last epoch. When a node is about to be preempted, training
    resumes without it from the current step. Elastic training uses as many workers as fit on the cluster.

    Parameters
    ----------
    experiment : Experiment
    on_progress : callable
    stop : callable
        Where it returns True, training writes a checkpoint and raises Interrupted.
    resources : dict, optional
        Of each worker, such as ``{"CPU": 1}``; by default the workers share the whole cluster.
    callbacks : sequence
        Callbacks of Ray Train; they receive each epoch but the last.

    Raises
    ------
    ConfigError
        The cluster has fewer CPUs or GPUs than there are workers.
    WorkError
        Training failed.
    Interrupted
        `stop` returned True.
    """
    # The annotations of ray.train are those of its first version.
    configs: Any = ray.train
    scaling = _scaling(experiment) if resources is None else _fixed_scaling(experiment, resources)
    # Training waits where a node was just lost, or has not joined yet.
    on_progress(0, 0, f"waiting for {_describe(scaling)}")
    folder = run_folder(experiment).checkpoints
    remove_folder(folder / RAY_TRAIN)  # the state of an earlier call: ours is in the checkpoints
    with follow_progress(on_progress, stop) as progress, _kept_sigint():
        trainer: Any = ray.train.torch.TorchTrainer(
            _train_worker,  # type: ignore[arg-type]  # its return value is not in that annotation
            train_loop_config={"experiment": experiment.model_dump(mode="json"), "progress": progress},
            scaling_config=scaling,
            run_config=configs.RunConfig(
                name=RAY_TRAIN,
                **_storage(folder),
                failure_config=configs.FailureConfig(max_failures=MAX_FAILURES),
                callbacks=[_FailFastOnUserError(progress), *callbacks],
            ),
        )
        _fit(trainer, progress, stop)


def _fit(trainer: Any, progress: Any, stop: Callable[[], bool]) -> None:
    """Train until all epochs are done; after a preemption once more, from the checkpoint."""
    try:
        while trainer.fit().return_value == STOPPED:
            if stop():
                raise Interrupted
    except SystemExit:
        # Ray Train exits on Ctrl-C; the command line prints how to resume.
        raise KeyboardInterrupt from None
    except (ray.exceptions.RayError, ray.train.TrainingFailedError) as error:
        problem = f"a worker failed: {cause(error)}"
        remedy = "Re-run the same command to resume from the last epoch"
        raise original_error(progress, WorkError("training", problem, remedy)) from error


@contextmanager
def _kept_sigint() -> Iterator[None]:
    """Put the handler of Ctrl-C, which Ray Train replaces, back after the block."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    finally:
        if threading.current_thread() is threading.main_thread():  # a trial of a search is not
            signal.signal(signal.SIGINT, handler)


def _storage(folder: AnyPath) -> dict[str, Any]:
    """Where Ray Train keeps its state, beside our checkpoints."""
    if isinstance(folder, Path):
        return {"storage_path": str(folder)}
    return {"storage_path": folder.path, "storage_filesystem": PyFileSystem(FSSpecHandler(folder.fs))}


def before_last(experiment: Experiment, report: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    """Reports each epoch but the last: a listener may stop the training, which is too late after the last one."""
    fold = {} if experiment.split.fold is None else {"fold": experiment.split.fold}

    def report_epoch(row: dict[str, Any]) -> None:
        if row["epoch"] < experiment.training.epochs:
            report({**row, **fold})

    return report_epoch


def _scaling(experiment: Experiment) -> ray.train.ScalingConfig:
    spec, nodes = experiment.training, node_resources()
    fewest, most = spec.fewest_workers, spec.most_workers
    use_gpu = spec.device == "cuda" or (spec.device == "auto" and count_schedulable_workers(nodes, 0, 1) >= fewest)
    for name, cpus, gpus in (("GPU", 0, 1), ("CPU", 1, 0)):
        available = count_schedulable_workers(nodes, cpus, gpus)
        if available < fewest and (use_gpu or name == "CPU"):
            problem = f"{fewest} workers need one {name} each, the cluster has {available}"
            raise ConfigError("training.workers", problem, "Reduce training.workers")
    # Where not all workers fit yet, nodes that join later may have a single CPU.
    cpus = max_cpus_per_worker(nodes, most, int(use_gpu)) or 1
    settings: dict[str, Any] = {
        "num_workers": most if fewest == most else (fewest, most),
        "elastic_resize_monitor_interval_s": RESIZE_S,
    }
    resources = {"CPU": cpus, **({"GPU": 1} if use_gpu else {})}
    return ray.train.ScalingConfig(use_gpu=use_gpu, resources_per_worker=resources, **settings)


def _describe(scaling: ray.train.ScalingConfig) -> str:
    """The requested workers in words: ``2 workers with 1 CPU and 1 GPU each``."""
    resources: Any = scaling.resources_per_worker
    workers: Any = scaling.num_workers
    resources_text = " and ".join(f"{amount:g} {name}" for name, amount in resources.items())
    number = f"{workers[0]} to {workers[1]}" if isinstance(workers, tuple) else str(workers)
    return f"{number} worker{'' if number == '1' else 's'} with {resources_text} each"


def _fixed_scaling(experiment: Experiment, resources: dict[str, float]) -> ray.train.ScalingConfig:
    workers = experiment.training.most_workers
    return ray.train.ScalingConfig(num_workers=workers, use_gpu="GPU" in resources, resources_per_worker=resources)


class _FailFastOnUserError(ray.train.UserCallback):
    """Ends a training whose worker reported an error: only lost workers are replaced."""

    def __init__(self, progress: Any) -> None:
        self.progress = progress

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:  # noqa: ARG002
        if ray.get(self.progress.read_error.remote()) is not None:
            raise WorkError("training", "a worker reported an error")


def _train_worker(config: dict[str, Any]) -> str:
    from voxray.training.fit import fit  # takes seconds, which the driver need not wait for

    reporter = ProgressReporter(config["progress"], "rank 0")
    experiment = Experiment.model_validate(config["experiment"])
    assigned = ray.get_runtime_context().get_assigned_resources()
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))

    def stop() -> bool:
        """Whether a node is preempted or the driver stops; about nodes, Ray gives all ranks the same answer."""
        return ray.train.get_preemption_info() is not None or bool(ray.get(reporter.actor.is_stopping.remote()))

    try:
        report = before_last(experiment, ray.train.report)
        device = ray.train.torch.get_device()
        fit(experiment, device=device, on_progress=reporter, report=report, stop=stop, on_warning=reporter.warn)
    except Interrupted:
        return STOPPED
    except Exception as error:
        # A lost worker of the group looks like one of these to the others; it is replaced.
        if isinstance(error, VoxrayError) or not isinstance(error, RuntimeError | OSError):
            reporter.report_error(error, "training")
        raise
    return FINISHED
