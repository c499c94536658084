"""The trials of a search, a JSON file each: the truth about a search, whatever runs it and however it was stopped."""

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev
from typing import Any, Literal

from voxray.metrics.registry import find_metric
from voxray.runs.folder import SearchFolder
from voxray.search.space.distributions import Label

State = Literal["running", "finished", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """A network and settings that were tried.

    Attributes
    ----------
    number : int
    state : str
        ``running`` also where a search was stopped while it ran.
    decisions : dict
        The point of the space.
    settings : dict
        Values of the experiment by key path.
    parameters : int
        Trainable ones.
    origin : str
        The architecture file that it starts from; empty where the search suggested it.
    curve : tuple of dict
        The rows of the history, an epoch each; with several folds those of each, one fold after the other.
    reason : str
        Why it was pruned, or failed.
    memory_bytes, flops : int
        Predicted: of training at most, and of a patch on its way through the network.
    """

    number: int
    state: State
    decisions: dict[str, Label]
    settings: dict[str, Any]
    parameters: int
    origin: str = ""
    curve: tuple[dict[str, Any], ...] = ()
    reason: str = ""
    memory_bytes: int = 0
    flops: int = 0

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.number:04d}"

    @property
    def folds(self) -> int:
        """Of how many there are epochs."""
        return 1 + max((row.get("fold", 0) for row in self.curve), default=-1)

    def of_fold(self, fold: int) -> tuple[dict[str, Any], ...]:
        """The epochs of a fold."""
        return tuple(row for row in self.curve if row.get("fold", 0) == fold)


@dataclass(frozen=True)
class Goal:
    """What a search looks for.

    Attributes
    ----------
    name : str
        A figure of validation, such as ``recall_at_precision``.
    best : str
        ``training.monitor`` of the experiment: which epoch's weights are kept.
    """

    name: str
    best: str

    @property
    def column(self) -> str:
        """Of the history."""
        return f"val_{self.name}"

    @property
    def sign(self) -> int:
        """1 where more is better."""
        return find_metric(self.name).sign

    def kept(self, trial: Trial, fold: int = 0) -> Mapping[str, Any] | None:
        """The epoch whose weights are kept, the earliest of equals; None where no epoch has a figure to go by."""
        rows = [row for row in trial.of_fold(fold) if math.isfinite(_number(row.get(f"val_{self.best}")))]
        return max(rows, key=lambda row: find_metric(self.best).sign * row[f"val_{self.best}"], default=None)

    def fold_values(self, trial: Trial) -> list[float]:
        """The figure of the weights that are kept, of each fold so far; NaN where there is none."""
        kept = (self.kept(trial, fold) for fold in range(trial.folds))
        return [math.nan if row is None else _number(row.get(self.column)) for row in kept]

    def value(self, trial: Trial) -> float:
        """The mean over the folds; NaN where there is none."""
        values = self.fold_values(trial)
        return sum(values) / len(values) if values else math.nan

    def spread(self, trial: Trial) -> float:
        """Standard deviation over the folds; NaN of less than two."""
        values = self.fold_values(trial)
        return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan

    def is_behind(self, trial: Trial, trials: Mapping[int, Trial]) -> bool:
        """Whether the folds so far leave a trial little hope.

        Their mean is behind that of the best trial over the same folds by more than that trial's spread. Both were
        trained and judged on the same patients in each fold, so that what is left between them is less than the spread.
        """
        best = self.winner(trials)
        if best is None:
            return False
        own, others = self.fold_values(trial), self.fold_values(best)[: trial.folds]
        return self.sign * (sum(others) - sum(own)) / len(own) > self.spread(best)

    def ranked(self, trials: Mapping[int, Trial]) -> list[Trial]:
        """Finished trials from the best to the worst, then the pruned by how they stood, then the others."""
        order = ("finished", "pruned", "running", "failed")

        def place(trial: Trial) -> tuple[int, bool, float, int]:
            value = self.value(trial)
            known = math.isfinite(value)
            return order.index(trial.state), not known, -self.sign * value if known else 0.0, trial.parameters

        return sorted(trials.values(), key=place)

    def winner(self, trials: Mapping[int, Trial]) -> Trial | None:
        """The best finished trial."""
        first = next(iter(self.ranked(trials)), None)
        return first if first and first.state == "finished" and math.isfinite(self.value(first)) else None


def trial_folder(folder: Path, trial: Trial) -> Path:
    """The run's folder of a trial."""
    return SearchFolder(folder).trial(trial.name)


def read_trials(folder: Path) -> dict[int, Trial]:
    """All trials of a search by number."""
    found = [json.loads(path.read_text(encoding="utf-8")) for path in SearchFolder(folder).records()]
    trials = [Trial(**{**each, "curve": tuple(each["curve"])}) for each in found]
    return {trial.number: trial for trial in trials}


def trial_content(trial: Trial) -> dict[str, Any]:
    """A trial as JSON holds it."""
    return asdict(trial)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
