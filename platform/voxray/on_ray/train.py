"""Training on Ray Train V2: one worker a rank, the loop of `voxray.training.loop` inside."""

import threading
import time
from collections.abc import Callable
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, VoxrayError, WorkError

POLL_S = 0.5

Show = Callable[[int, int, str], None]


@ray.remote(num_cpus=0)
class Board:
    """Where rank 0 writes how far it is, and the driver looks."""

    def __init__(self) -> None:
        self.state: tuple[int, int, str] | None = None
        self.problem: tuple[str, tuple[str, ...]] | None = None

    def write(self, done: int, total: int, text: str) -> None:
        """Replace what stands there."""
        self.state = done, total, text

    def complain(self, kind: str, words: tuple[str, ...]) -> None:
        """Leave an error in its own words: Ray would wrap it beyond recognition."""
        self.problem = kind, words

    def read(self) -> tuple[int, int, str] | None:
        """What stands there."""
        return self.state

    def read_problem(self) -> tuple[str, tuple[str, ...]] | None:
        """The error that was left, if any."""
        return self.problem


def train_on_ray(experiment: Experiment, show: Show) -> None:
    """Train with as many workers as the experiment asks for; results go to the run's folder.

    Raises
    ------
    ConfigError
        The cluster has fewer CPUs or GPUs than there are workers.
    WorkError
        Training failed.
    """
    board = Board.remote()  # type: ignore[attr-defined]
    scaling = _scaling(experiment)
    trainer = ray.train.torch.TorchTrainer(
        _train_worker,
        train_loop_config={"experiment": experiment.model_dump(mode="json"), "board": board},
        scaling_config=scaling,
        run_config=ray.train.RunConfig(
            name="ray_train",
            storage_path=str(experiment.out_path / "checkpoints"),
            failure_config=ray.train.FailureConfig(max_failures=0),
        ),
    )
    stop = threading.Event()
    viewer = threading.Thread(target=_follow, args=(board, show, stop), daemon=True)
    viewer.start()
    try:
        trainer.fit()
    except Exception as error:  # Ray's own kinds are many; whatever it was, the training is over
        raise _in_own_words(board, error) from error
    finally:
        stop.set()
        viewer.join()


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


def _train_worker(config: dict[str, Any]) -> None:
    from voxray.runs.fit import fit  # here, so that a worker pays for it and not the driver

    board = config["board"]
    experiment = Experiment.model_validate(config["experiment"])
    last = 0.0

    def show(done: int, total: int, text: str) -> None:
        nonlocal last
        if time.monotonic() - last > POLL_S or done == total:
            last = time.monotonic()
            board.write.remote(done, total, text)

    assigned = ray.get_runtime_context().get_assigned_resources()
    torch.set_num_threads(max(1, int(assigned.get("CPU", 1))))
    try:
        fit(experiment, device=ray.train.torch.get_device(), show=show, report=lambda row: ray.train.report(row))
    except VoxrayError as error:
        ray.get(board.complain.remote(type(error).__name__, error.args))
        raise


def _follow(board: Any, show: Show, stop: threading.Event) -> None:
    shown = None
    while not stop.wait(POLL_S):
        state = ray.get(board.read.remote())
        if state != shown:
            shown = state
            show(*state)


def _in_own_words(board: Any, error: Exception) -> VoxrayError:
    problem = ray.get(board.read_problem.remote())
    if problem is None:
        last = str(error).strip().splitlines()[-1]
        return WorkError("training", f"a worker failed: {last}", "The same command goes on from the last epoch")
    kind, words = problem
    kinds = {each.__name__: each for each in VoxrayError.__subclasses__()}
    return kinds.get(kind, WorkError)(*words)
