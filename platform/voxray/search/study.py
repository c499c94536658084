"""The study of a search: it decides what is tried next and keeps the results on disk."""

import json
import math
import shutil
from collections import deque
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.study import StudyDirection
from optuna.trial import TrialState

from voxray.errors import ConfigError
from voxray.runs.folder import RunFolder, SearchFolder, run_folder
from voxray.search.constraints import draw, estimate
from voxray.search.costs import COSTS
from voxray.search.neighbors import neighbors
from voxray.search.plan import Search, trial_experiments
from voxray.search.space.distributions import Choice, Distribution, Int, Label, LogUniform
from voxray.search.space.nodes import Suggest
from voxray.search.space.sampling import Decisions, Sample, at_random
from voxray.search.trials import (
    State,
    Trial,
    fold_history,
    read_trials,
    remove_damaged_trials,
    trial_content,
    trial_folder,
)
from voxray.storage.atomic import append_line, write_json

STARTUP = 10  # random trials before TPE has enough data; the default of its authors
NEIGHBORS = 5  # of the initial networks, trained before TPE's random trials
SUGGESTIONS = 5  # for one trial
DRAWN = 5000  # random samples for one trial; if none of them is new and within the limits, the search ends
SMALLEST_COST = 1e-3  # whose logarithm is taken

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """The trials of a search, with the interface of an Optuna study: `ask`, `report` and `tell`.

    It reads the trials that the folder holds already. Interrupted trials come first, in their own folders.

    Parameters
    ----------
    search : Search

    Attributes
    ----------
    trials : dict
        Number → Trial.
    removed : list of str
        Problems of the trials whose record could not be read.
    rejected : list of dict
        Samples that were not started: origin, reason, decisions.
    exhausted : bool
        Whether no new sample was found for the last `ask`.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.removed = remove_damaged_trials(search.folder)
        self.trials = read_trials(search.folder)
        self.rejected = read_rejected(search.folder)
        self.rejections = {self._rejection(row) for row in self.rejected}
        # Samples depend on seed and history alone, and a resumed search does not repeat its first draws.
        self.rng = np.random.default_rng([search.seed, len(self.trials), len(self.rejected)])
        self.optuna_study = _create_study(search, int(self.rng.integers(2**32)))
        self.asked: dict[int, optuna.Trial] = {}
        self.misses = 0
        self.exhausted = False
        self.tried: set[str] = set()
        for trial in self.trials.values():
            self._restore(trial)
        self.interrupted = deque(self.asked)
        started = {trial.origin for trial in self.trials.values()} | {row["origin"] for row in self.rejected}
        self.starts = deque((name, point) for name, point in search.starts if name not in started)

    def ask(self) -> Trial | None:
        """The next trial, saved with its architecture; None if nothing is left to try."""
        if self.interrupted:
            return self.trials[self.interrupted.popleft()]
        if len(self.trials) >= self.search.trials:
            return None
        trial = self._from_start() or self._from_neighbor() or self._from_suggestion() or self._from_random_sample()
        self.exhausted = trial is None
        return trial

    def report(self, number: int, row: dict[str, Any]) -> None:
        """Save an epoch of a trial."""
        trial = self.trials[number]
        if all(row["epoch"] != earlier["epoch"] for earlier in trial.of_fold(row.get("fold", 0))):
            self._save(replace(trial, curve=(*trial.curve, _plain(row))))

    def report_fold(self, number: int, fold: int) -> bool:
        """Save a finished fold of a trial; returns whether the trial is clearly behind the best one."""
        trial = self.trials[number]
        others = [row for row in trial.curve if row.get("fold", 0) != fold]
        trial = replace(trial, curve=(*others, *self._history(trial, fold)))
        self._save(trial)
        return self.search.goal.is_behind(trial, self.trials)

    def count_folds(self, number: int) -> tuple[int, int]:
        """How many folds of a trial are finished, and how many there are."""
        folds = [fold_history(experiment) for experiment in trial_experiments(self.search, self.trials[number])]
        return sum(history is not None for history in folds), len(folds)

    def tell(self, number: int, state: State, reason: str = "") -> Trial:
        """Save the result of a trial and delete its checkpoints."""
        trial = self.trials[number]
        experiments = trial_experiments(self.search, trial)
        if state == "finished":
            rows = [row for fold in range(len(experiments)) for row in self._history(trial, fold)]
            trial = replace(trial, curve=tuple(rows))
            if not math.isfinite(self.search.goal.value(trial)):
                state, reason = "failed", f"val/{self.search.goal.name} has no value"
        trial = replace(trial, state=state, reason=reason)
        self._save(trial)
        self._tell_optuna(self.asked.pop(number), trial)
        for experiment in experiments:
            shutil.rmtree(str(run_folder(experiment).checkpoints), ignore_errors=True)
        return trial

    def _history(self, trial: Trial, fold: int) -> list[dict[str, Any]]:
        experiments = trial_experiments(self.search, trial)
        rows = fold_history(experiments[fold]) or []
        return [_plain(row if len(experiments) == 1 else {**row, "fold": fold}) for row in rows]

    def _restore(self, trial: Trial) -> None:
        """Tell Optuna of a trial that the folder holds."""
        point, drawn = self._ask_optuna(trial.decisions)
        self.tried.add(_content(drawn))
        # The file may be missing or damaged.
        write_json(RunFolder(trial_folder(self.search.folder, trial)).architecture, drawn.architecture)
        if trial.state == "running":
            self.asked[trial.number] = point
        else:
            self._tell_optuna(point, trial)

    def _from_start(self) -> Trial | None:
        """A trial of the networks that are tried first."""
        while self.starts:
            origin, decisions = self.starts.popleft()
            point, drawn = self._ask_optuna(decisions)
            if trial := self._trial_of(drawn, origin):
                return self._start(trial, drawn, point)
            self.optuna_study.tell(point, state=TrialState.FAIL)
        return None

    def _from_neighbor(self) -> Trial | None:
        """A trial of an initial network with one decision changed; None once there are enough of them."""
        initial = [trial for trial in self.trials.values() if trial.origin]
        if self.search.method != "tpe" or len(self.trials) >= len(initial) + NEIGHBORS:
            return None
        spatial_dims = len(self.search.conditions.input_shape) - 1
        for first in initial:
            # In the same order each time, and each is tried once.
            rng = np.random.default_rng([self.search.seed, first.number])
            for decisions in neighbors(self.search.space, first.decisions, spatial_dims, rng):
                point, drawn = self._ask_optuna(decisions)
                if trial := self._trial_of(drawn):
                    return self._start(trial, drawn, point)
                self.optuna_study.tell(point, state=TrialState.FAIL)
        return None

    def _from_suggestion(self) -> Trial | None:
        """A trial that Optuna suggests; None if several suggestions in a row are rejected."""
        evaluated = sum(trial.state in ("finished", "pruned") for trial in self.trials.values())
        for _ in range(SUGGESTIONS if self.search.method == "tpe" and evaluated >= STARTUP else 0):
            point, drawn = self._ask_optuna({})
            if trial := self._trial_of(drawn):
                return self._start(trial, drawn, point)
            if self.misses < evaluated:
                # TPE learns the limits from it. It takes a fixed fraction of all trials as good ones: with more
                # rejected than evaluated trials, mediocre ones would count as good.
                self.misses += 1
                point.set_constraint("is_within_limits", 1)
                self.optuna_study.tell(point, state=TrialState.PRUNED)
            else:
                self.optuna_study.tell(point, state=TrialState.FAIL)
        return None

    def _from_random_sample(self) -> Trial | None:
        """A trial of a random sample, which takes far less time than a suggestion."""
        for _ in range(DRAWN):
            drawn = draw(self.search.space, self.search.conditions, at_random(self.rng))
            if trial := self._trial_of(drawn):
                return self._start(trial, drawn, self._ask_optuna(drawn.decisions)[0])
        return None

    def _trial_of(self, drawn: Sample, origin: str = "") -> Trial | None:
        """A sample as a trial; None if it was tried before or is rejected."""
        if _content(drawn) in self.tried:
            return None
        number = next(number for number in count() if number not in self.trials)
        trial = Trial(number, "running", drawn.decisions, drawn.settings, 0, origin)
        try:
            cost = estimate(drawn, self.search.conditions)
            parameters, memory, flops = cost.parameters, cost.peak_bytes, cost.forward_flops
            trial = replace(trial, parameters=parameters, memory_bytes=memory, flops=flops)
            trial_experiments(self.search, trial)
        except ConfigError as error:
            self._reject(trial, error)
            return None
        return trial

    def _start(self, trial: Trial, drawn: Sample, point: optuna.Trial) -> Trial:
        self.tried.add(_content(drawn))
        self.asked[trial.number] = point
        write_json(RunFolder(trial_folder(self.search.folder, trial)).architecture, drawn.architecture)
        self._save(trial)
        return trial

    def _ask_optuna(self, decisions: Decisions) -> tuple[optuna.Trial, Sample]:
        if decisions:
            self.optuna_study.enqueue_trial(dict(decisions))
        point = self.optuna_study.ask()
        return point, draw(self.search.space, self.search.conditions, _suggests(point))

    def _tell_optuna(self, point: optuna.Trial, trial: Trial) -> None:
        value = self.search.goal.value(trial)
        if trial.state == "failed" or not math.isfinite(value):
            self.optuna_study.tell(point, state=TrialState.FAIL)
        elif self.search.minimize:
            # Optuna does not prune with two objectives: a pruned trial counts with the value that it reached.
            cost = COSTS[self.search.minimize].of(trial)
            self.optuna_study.tell(point, [value, math.log10(max(cost, SMALLEST_COST))])
        elif trial.state == "finished":
            self.optuna_study.tell(point, value)
        else:
            for row in trial.of_fold(0):
                if (metric := row.get(self.search.goal.column)) is not None:
                    point.report(metric, row["epoch"])
            self.optuna_study.tell(point, state=TrialState.PRUNED)

    def _save(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        write_json(SearchFolder(self.search.folder).record(trial.name), trial_content(trial))

    def _reject(self, trial: Trial, error: ConfigError) -> None:
        row = {"origin": trial.origin, "reason": error.problem.strip(), "decisions": trial.decisions}
        if (key := self._rejection(row)) in self.rejections:
            return
        self.rejections.add(key)
        self.rejected.append(row)
        append_line(SearchFolder(self.search.folder).rejected, json.dumps(row))

    def _rejection(self, row: dict[str, Any]) -> str:
        """The network and the reason; settings such as the learning rate make no difference."""
        network = {name: label for name, label in row["decisions"].items() if name not in self.search.space.experiment}
        return json.dumps([row["origin"], row["reason"], network], sort_keys=True)


def read_rejected(folder: Path) -> list[dict[str, Any]]:
    """Samples that were rejected before they were started: origin, reason, decisions."""
    path = SearchFolder(folder).rejected
    lines = path.read_bytes().splitlines() if path.exists() else []
    return [row for row in map(_read_rejection, lines) if row is not None]


def _read_rejection(line: bytes) -> dict[str, Any] | None:
    """A line of the rejected samples; None where it is damaged, as the last line of a killed process may be."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        return None
    is_whole = isinstance(row, dict) and isinstance(row.get("decisions"), dict)
    return row if is_whole and {"origin", "reason"} <= row.keys() else None


def _create_study(search: Search, seed: int) -> optuna.Study:
    sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
    direction = StudyDirection.MAXIMIZE if search.goal.sign > 0 else StudyDirection.MINIMIZE
    directions = [direction, StudyDirection.MINIMIZE] if search.minimize else [direction]
    return optuna.create_study(sampler=sampler, directions=directions)


def _suggests(point: optuna.Trial) -> Suggest:
    def suggest(name: str, distribution: Distribution) -> Label:
        match distribution:
            case Choice():
                return point.suggest_categorical(name, distribution.labels)
            case Int():
                high = distribution.some_labels()[-1]
                return point.suggest_int(name, distribution.low, int(str(high)), step=distribution.step)
            case LogUniform():
                return point.suggest_float(name, distribution.low, distribution.high, log=True)
        raise TypeError(f"unknown distribution {distribution}")

    return suggest


def _content(drawn: Sample) -> str:
    return json.dumps([drawn.architecture, drawn.settings], sort_keys=True)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """An epoch's row with numbers that JSON can hold."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
        if key in ("epoch", "fold", "seconds", "learning_rate") or key.startswith(("train_", "val_"))
    }
