"""What a search is: an experiment, a space, a goal and limits; and the experiment that each of its trials is."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.errors import ConfigError
from voxray.metrics.registry import epoch_metrics
from voxray.models.spec.load import load_architecture
from voxray.runs.folder import RunFolder
from voxray.search.constraints import Conditions, Limits
from voxray.search.space.inverse import find_point
from voxray.search.space.sampling import Decisions, Space
from voxray.search.trials import Goal, Trial, trial_folder
from voxray.storage.paths import AnyPath
from voxray.store.layout import StoreInfo

Method = Literal["tpe", "random"]
Minimized = Literal["parameters"]


@dataclass(frozen=True, eq=False)
class Search:
    """Everything about a search.

    Attributes
    ----------
    folder : Path
    experiment : Experiment
        With the store that all trials share; with `split.folds` each trial is trained once a fold.
    space : Space
    goal : Goal
    trials : int
        How many are started, those of earlier commands included.
    seed : int
    method : str
    limits : Limits
    starts : tuple of (str, mapping)
        Name and decisions of networks that are tried first; decisions that are missing are left to the method.
    patch_shape : tuple of int
        (channel, x, y, z).
    classes : int
    gpu : bool
        Whether trials train on GPUs.
    minimize : str, optional
        What a network should have little of, beside the goal.
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
    minimize: Minimized | None = None

    @property
    def conditions(self) -> Conditions:
        """What all samples have in common."""
        return Conditions(self.patch_shape, self.classes, self.experiment.training, self.gpu, self.limits)

    @property
    def spatial_dims(self) -> int:
        """2 or 3, of the networks' input."""
        return patch_spatial_dims(self.patch_shape)


def parse_metric(metric: str, info: StoreInfo, best: str) -> Goal:
    """``val/roc_auc`` as what to look for.

    Raises
    ------
    ConfigError
        Validation gives no such metric.
    """
    split, _, name = metric.partition("/")
    known = epoch_metrics(info.task, info.classes)
    if split != "val" or name not in known:
        remedy = f"Known: {', '.join(f'val/{key}' for key in known)}"
        raise ConfigError("--metric", f"unknown metric '{metric}'", remedy)
    return Goal(name, best)


def find_starts(
    space: Space, experiment: Experiment, files: Sequence[AnyPath], spatial_dims: int
) -> tuple[tuple[tuple[str, Decisions], ...], list[str]]:
    """The decisions that make the networks of architecture files, and the names of those that the space cannot make."""
    space.check_spatial_dims(spatial_dims)
    settings = {key: _setting(experiment, key) for key in space.experiment}
    points = [(path.name, find_point(space, load_architecture(path), settings)) for path in files]
    starts = tuple((name, point) for name, point in points if point is not None)
    return starts, [name for name, point in points if point is None]


def trial_experiments(search: Search, trial: Trial) -> list[Experiment]:
    """The experiments of a trial, one for each fold: runs in a folder of its own, on the stores that all share.

    Raises
    ------
    ConfigError
        Its settings do not go together.
    """
    base, folder = search.experiment, trial_folder(search.folder, trial)
    content = base.model_dump(mode="json")
    content |= {"name": f"{base.name}_{trial.name}", "out": str(folder)}
    content["model"] = {"architecture": str(RunFolder(folder).architecture)}
    content["tracking"] = {**content["tracking"], "group": search.folder.name}
    for key, value in trial.settings.items():
        *tables, last = key.split(".")
        table = content
        for name in tables:
            table = table[name]
        table[last] = value
    try:
        return fold_experiments(Experiment.model_validate(content))
    except ValueError as error:
        raise ConfigError("sample", str(error)) from None


def patch_spatial_dims(patch_shape: tuple[int, int, int, int]) -> int:
    """2 for patches of one slice."""
    return 2 if patch_shape[3] == 1 else 3


def _setting(experiment: Experiment, key: str) -> Any:
    value: Any = experiment.model_dump(mode="json")
    for name in key.split("."):
        value = value[name]
    return value
