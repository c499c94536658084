"""Experiments: their settings, and the stages that carry them out."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from voxray.api import AnyText
from voxray.api.patch_store import Store, open_store
from voxray.api.trained_run import Run, load_run
from voxray.storage.paths import AnyPath, to_path

if TYPE_CHECKING:
    from voxray.config.experiment import Experiment
    from voxray.executors.base import Executor
    from voxray.stages.common import OnStatus

ExecutorName = Literal["local", "ray"]


def load_config(path: AnyText, settings: Mapping[str, Any] | None = None) -> "Experiment":
    """Read and check an experiment file.

    Parameters
    ----------
    path : str or path
        TOML file.
    settings : mapping, optional
        Key path → value, in place of those of the file; None stands for the default.

    Raises
    ------
    ConfigError
        With every problem, each with its key path.

    Examples
    --------
    >>> config = voxray.load_config(experiment_file, {"training.epochs": 5})
    >>> config.training.epochs
    5
    """
    from voxray.datasets.layouts import load_checked_experiment

    return load_checked_experiment(Path(str(to_path(path, "config"))), settings or {})


def run(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Run:
    """Run all stages of an experiment: ingest, train, evaluate and report. What is finished already is reused.

    Parameters
    ----------
    config : Experiment, or path of its TOML file
    executor : {"local", "ray"}
        In this process, or on a Ray cluster; both give the same store and metrics.
    on_status : callable, optional
        Takes each line of what happens; by default they go to the logger ``voxray``.

    Raises
    ------
    VoxrayError
        With the reason, see `voxray.errors`.

    Examples
    --------
    >>> run = voxray.run(experiment_file, executor="local")
    >>> run.metrics["test"]["samples"] > 0
    True
    """
    from voxray.stages.pipeline import run as run_all

    experiment = _carry_out(run_all, config, executor, on_status)
    return load_run(experiment.out, experiment.training.device)


def ingest(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Store:
    """Fill the patch store of an experiment; parameters and errors are those of `run`.

    Examples
    --------
    >>> store = voxray.ingest(experiment_file)
    >>> list(store.splits)
    ['train', 'val', 'test']
    """
    from voxray.stages.ingest import ingest as ingest_stage

    experiment = _carry_out(ingest_stage, config, executor, on_status)
    return open_store(str(experiment.store_path), experiment)


def train(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Run:
    """Train the network of an experiment on its finished store; parameters and errors are those of `run`.

    Examples
    --------
    >>> voxray.train(experiment_file).history.num_rows
    2
    """
    from voxray.stages.train import train as train_stage

    experiment = _carry_out(train_stage, config, executor, on_status)
    return load_run(experiment.out, experiment.training.device)


def evaluate(
    config: "Experiment | AnyText", executor: ExecutorName = "local", *, on_status: "OnStatus | None" = None
) -> Run:
    """Evaluate the trained network of an experiment; parameters and errors are those of `run`.

    Examples
    --------
    >>> 0 <= voxray.evaluate(experiment_file).metrics["test"]["recall"] <= 1
    True
    """
    from voxray.stages.evaluate import evaluate as evaluate_stage

    experiment = _carry_out(evaluate_stage, config, executor, on_status)
    return load_run(experiment.out, experiment.training.device)


def report(config: "Experiment | AnyText", *, on_status: "OnStatus | None" = None) -> AnyPath:
    """Write the report of an evaluated experiment; returns its path. Parameters and errors are those of `run`.

    Examples
    --------
    >>> voxray.report(experiment_file).name
    'report.html'
    """
    from voxray.stages.report import report as report_stage

    return report_stage(_as_config(config), on_status or _log)


def _carry_out(
    stage: "Callable[[Experiment, Executor, OnStatus], object]",
    config: "Experiment | AnyText",
    executor: ExecutorName,
    on_status: "OnStatus | None",
) -> "Experiment":
    """Carry out a stage; returns the experiment."""
    from voxray.executors import get_executor

    experiment = _as_config(config)
    stage(experiment, get_executor(executor), on_status or _log)
    return experiment


def _as_config(config: "Experiment | AnyText") -> "Experiment":
    from voxray.config.experiment import Experiment

    return config if isinstance(config, Experiment) else load_config(config)


def _log(line: str) -> None:
    logging.getLogger("voxray").info(line)
