"""The metrics of validation that an experiment's epochs have; one of them chooses the epoch that is kept."""

from collections.abc import Sequence

from voxray.config.experiment import Experiment
from voxray.config.validation import nearest
from voxray.datasets.annotated import annotations_digest, why_not_scored
from voxray.errors import ConfigError
from voxray.metrics.detection_score import CPM
from voxray.metrics.registry import epoch_metrics


def monitors(experiment: Experiment, task: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Keys that validation gives after each epoch: those of the task, and CPM where candidates can be scored."""
    names = epoch_metrics(task, classes)
    return names if why_not_scored(experiment) else (*names, CPM.name)


def check_monitor(where: str, name: str, experiment: Experiment, task: str, classes: Sequence[str]) -> None:
    """Raise ConfigError where validation has no such metric."""
    known = monitors(experiment, task, classes)
    if name in known:
        return
    if name == CPM.name:
        raise ConfigError(where, f"validation has no '{name}': {why_not_scored(experiment)}", "Choose another metric")
    raise ConfigError(where, f"unknown metric '{name}' for {task}; {nearest(name, known)}")


def annotations_key(experiment: Experiment) -> str:
    """The digest of the annotations that choose the epoch; empty where none do."""
    training = experiment.training
    chosen_by_them = CPM.name in (training.monitor, training.stopping_monitor)
    return (annotations_digest(experiment) or "") if chosen_by_them else ""
