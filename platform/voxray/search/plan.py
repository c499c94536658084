"""The definition of a search, and the experiments of its trials."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.errors import ConfigError
from voxray.metrics.detection_score import CPM
from voxray.models.spec.load import load_architecture
from voxray.runs.folder import RunFolder
from voxray.search.constraints import Conditions, Limits
from voxray.search.costs import COSTS, CostName, TrialCost
from voxray.search.space.inverse import find_point
from voxray.search.space.sampling import Decisions, Space
from voxray.search.trials import Goal, Trial, trial_folder
from voxray.storage.paths import AnyPath
from voxray.training.monitors import check_monitor, monitors

Method = Literal["tpe", "random"]
Scheduler = Literal["asha", "median", "none"]


@dataclass(frozen=True, eq=False)
class Search:
    """The definition of a search.

    Attributes
    ----------
    folder : Path
    experiment : Experiment
        With the store that all trials share; with `split.folds` each trial is trained once for each fold.
    space : Space
    goal : Goal
    trials : int
        Number of trials, those of earlier commands included.
    seed : int
    method : str
    limits : Limits
    starts : tuple of (str, mapping)
        Name and decisions of networks that are tried first; missing decisions are left to the method.
    patch_shape : tuple of int
        (channel, x, y, z).
    classes : int
    gpu : bool
        Whether trials train on GPUs.
    minimize : str, optional
        The second objective.
    prefer : str, optional
        What the chosen network has the least of, among those whose metric is within chance of the best.
    scheduler : {"asha", "median", "none"}
        The rule by which poor trials are pruned.
    """

    folder: Path
    experiment: Experiment
    space: Space
    goal: Goal
    trials: int
    seed: int
    method: Method
    limits: Limits
    starts: tuple[tuple[str, Decisions], ...]
    patch_shape: tuple[int, int, int, int]
    classes: int
    gpu: bool = False
    minimize: CostName | None = None
    prefer: CostName | None = None
    scheduler: Scheduler = "asha"

    @property
    def cost(self) -> TrialCost:
        """The cost that trials are compared by."""
        return COSTS[self.prefer or self.minimize or "parameters"]

    @property
    def conditions(self) -> Conditions:
        """What all samples have in common."""
        return Conditions(self.patch_shape, self.classes, self.experiment.training, self.gpu, self.limits)


def parse_metric(metric: str | None, experiment: Experiment, space: Space, task: str, classes: Sequence[str]) -> Goal:
    """``val/roc_auc`` as the goal of a search; without one the experiment's monitor.

    Raises
    ------
    ConfigError
        Validation has no such metric, or not the same one in all trials.
    """
    metric = f"val/{experiment.training.monitor}" if metric is None else metric
    if metric == "val/loss" and task == "segmentation" and "training.loss" in space.experiment:
        problem = "the space has several losses in training.loss, whose values cannot be compared, got val/loss"
        raise ConfigError("--metric", problem, "Choose a metric such as val/dice")
    split, _, name = metric.partition("/")
    names = monitors(experiment, task, classes)
    if metric == f"val/{CPM.name}":
        check_monitor("--metric", name, experiment, task, classes)
    if split != "val" or name not in names:
        known = ", ".join(f"val/{known}" for known in names)
        raise ConfigError("--metric", f"unknown metric '{metric}'", f"Known: {known}")
    return Goal(name, experiment.training.monitor)


def find_starts(
    space: Space, experiment: Experiment, files: Sequence[AnyPath], spatial_dims: int
) -> tuple[tuple[tuple[str, Decisions], ...], list[str]]:
    """Find architecture files in a space.

    Returns
    -------
    tuple of (str, mapping)
        Name and decisions of each network.
    list of str
        Names of the networks that cannot be expressed in the space.
    """
    space.check_spatial_dims(spatial_dims)
    content = experiment.model_dump(mode="json")
    settings = {key: content[table][name] for key in space.experiment for table, name in [key.split(".")]}
    points = [(path.name, find_point(space, load_architecture(path), settings)) for path in files]
    starts = tuple((name, point) for name, point in points if point is not None)
    return starts, [name for name, point in points if point is None]


def trial_experiments(search: Search, trial: Trial) -> list[Experiment]:
    """The experiments of a trial, one for each fold: runs in a folder of its own, on the shared stores.

    Raises
    ------
    ConfigError
        Its settings contradict each other.
    """
    base, folder = search.experiment, trial_folder(search.folder, trial)
    content = base.model_dump(mode="json")
    content |= {"name": f"{base.name}_{trial.name}", "out": str(folder)}
    content["model"] = {"architecture": str(RunFolder(folder).architecture)}
    content["tracking"] |= {"group": search.folder.name}
    for table, settings in nested(trial.settings).items():
        content[table] |= settings
    try:
        return fold_experiments(Experiment.model_validate(content))
    except ValueError as error:
        raise ConfigError("sample", str(error)) from None


def nested(settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """``{"training.epochs": 5}`` as ``{"training": {"epochs": 5}}``."""
    tables: dict[str, dict[str, Any]] = {}
    for key, value in settings.items():
        table, _, name = key.partition(".")
        tables.setdefault(table, {})[name] = value
    return tables


def patch_spatial_dims(patch_shape: tuple[int, int, int, int]) -> int:
    """2 for patches of one slice, else 3."""
    return 2 if patch_shape[3] == 1 else 3
