"""The trials of a search, one JSON file each. They are the only state of a search, whatever executes it."""

import math
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import stdev
from typing import Any, Literal

from pydantic import TypeAdapter, ValidationError

from voxray.config.experiment import Experiment
from voxray.errors import StoreError
from voxray.metrics.registry import find_metric
from voxray.runs.folder import SearchFolder, run_folder
from voxray.runs.read import read_history
from voxray.runs.records import read_state
from voxray.search.space.distributions import Label

State = Literal["running", "finished", "pruned", "failed"]


@dataclass(frozen=True)
class Trial:
    """A network with its settings, and the result.

    Attributes
    ----------
    number : int
    state : str
        ``running`` also if the search was interrupted while it ran.
    decisions : dict
        Labels by name.
    settings : dict
        Values of the experiment by key path.
    parameters : int
        Trainable ones.
    origin : str
        The architecture file that it comes from; empty if the search suggested it.
    curve : tuple of dict
        The rows of the history, one for each epoch; with several folds one fold after the other.
    reason : str
        Why it was pruned or failed.
    memory_bytes, flops : int
        Estimated: peak memory of training, and operations of a forward pass with one patch.
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
        """Name of the folder."""
        return f"{self.number:04d}"

    @property
    def folds(self) -> int:
        """Number of folds with at least one epoch."""
        return 1 + max((row.get("fold", 0) for row in self.curve), default=-1)

    def of_fold(self, fold: int) -> tuple[dict[str, Any], ...]:
        """The epochs of a fold."""
        return tuple(row for row in self.curve if row.get("fold", 0) == fold)


TRIAL = TypeAdapter(Trial)


@dataclass(frozen=True)
class Goal:
    """The metric that a search optimizes.

    Attributes
    ----------
    name : str
        A metric of validation, such as ``recall_at_precision``.
    monitor : str
        ``training.monitor`` of the experiment: the metric that chooses the epoch whose weights are kept.
    """

    name: str
    monitor: str

    @property
    def column(self) -> str:
        """Name of the column of the history."""
        return f"val_{self.name}"

    @property
    def sign(self) -> int:
        """1 if higher is better, else -1."""
        return find_metric(self.name).sign

    def kept(self, trial: Trial, fold: int = 0) -> Mapping[str, Any] | None:
        """The epoch whose weights are kept, the earliest of equals; None if the monitored metric has no value."""
        column, sign = f"val_{self.monitor}", find_metric(self.monitor).sign
        rows = [row for row in trial.of_fold(fold) if math.isfinite(_number(row.get(column)))]
        return max(rows, key=lambda row: sign * row[column], default=None)

    def fold_values(self, trial: Trial) -> list[float]:
        """The metric of the kept weights of each fold so far; NaN where it has no value."""
        kept = (self.kept(trial, fold) for fold in range(trial.folds))
        return [math.nan if row is None else _number(row.get(self.column)) for row in kept]

    def value(self, trial: Trial) -> float:
        """The mean over the folds; NaN without any."""
        values = self.fold_values(trial)
        return sum(values) / len(values) if values else math.nan

    def spread(self, trial: Trial) -> float:
        """Standard deviation over the folds; NaN for fewer than two."""
        values = self.fold_values(trial)
        return stdev(values) if len(values) > 1 and all(map(math.isfinite, values)) else math.nan

    def is_behind(self, trial: Trial, trials: Mapping[int, Trial]) -> bool:
        """Whether a trial is unlikely to become the best, judging by its folds so far.

        That is so if their mean is worse than that of the best trial over the same folds by more than the standard
        deviation of that trial. Both use the same patients in each fold, so the remaining difference is smaller.
        """
        best = self.winner(trials)
        if best is None:
            return False
        values, best_values = self.fold_values(trial), self.fold_values(best)[: trial.folds]
        return self.sign * (sum(best_values) - sum(values)) / len(values) > self.spread(best)

    def ranked(self, trials: Mapping[int, Trial]) -> list[Trial]:
        """Finished trials from the best to the worst, then the pruned ones by their last value, then the others."""
        order = ("finished", "pruned", "running", "failed")

        def key(trial: Trial) -> tuple[int, bool, float, int]:
            value = self.value(trial)
            finite = math.isfinite(value)
            return order.index(trial.state), not finite, -self.sign * value if finite else 0.0, trial.parameters

        return sorted(trials.values(), key=key)

    def winner(self, trials: Mapping[int, Trial]) -> Trial | None:
        """The best finished trial."""
        first = next(iter(self.ranked(trials)), None)
        return first if first and first.state == "finished" and math.isfinite(self.value(first)) else None


def trial_folder(folder: Path, trial: Trial) -> Path:
    """The folder of a trial's run."""
    return SearchFolder(folder).trial(trial.name)


def read_trials(folder: Path) -> dict[int, Trial]:
    """All trials of a search by number; those whose record cannot be read count as absent."""
    trials = map(_read_trial, SearchFolder(folder).records())
    return {trial.number: trial for trial in trials if trial is not None}


def remove_damaged_trials(folder: Path) -> list[str]:
    """Remove the folders of trials whose record is missing or cannot be read; returns the problem of each.

    Their numbers are given again, and no trial may find the results of another.
    """
    problems = []
    for path in sorted(SearchFolder(folder).trial("x").parent.glob("*/")):
        record = SearchFolder(folder).record(path.name)
        if _read_trial(record) is None:
            problems += [f"{record} cannot be read"] if record.exists() else []
            shutil.rmtree(path, ignore_errors=True)
    return problems


def _read_trial(record: Path) -> Trial | None:
    try:
        trial = TRIAL.validate_python(read_state(record))
    except ValidationError:
        return None
    return trial if trial.name == record.parent.name and all("epoch" in row for row in trial.curve) else None


def fold_history(experiment: Experiment) -> list[dict[str, Any]] | None:
    """A row for each epoch of a trained fold of a trial; None where its training is not finished or is damaged."""
    try:
        rows: list[dict[str, Any]] = read_history(run_folder(experiment)).to_pylist()
    except StoreError:
        return None
    return rows


def trial_content(trial: Trial) -> dict[str, Any]:
    """The content of a trial's JSON file."""
    return asdict(trial)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
