"""The book of a search: it says what is tried next, and writes down what came of it."""

import json
import math
import shutil
from collections import deque
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pyarrow.parquet as pq
from optuna.study import StudyDirection

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError
from voxray.runs.folder import RunFolder, SearchFolder, run_folder
from voxray.search.constraints import draw, estimate
from voxray.search.plan import Search, trial_experiments
from voxray.search.space.distributions import Choice, Distribution, Int, Label, LogUniform
from voxray.search.space.nodes import Suggest
from voxray.search.space.sampling import Decisions, Sample, at_random
from voxray.search.trials import State, Trial, read_trials, trial_content, trial_folder
from voxray.storage.atomic import write_json

STARTUP = 10  # trials that are drawn at random before TPE has enough to go by, its authors' number
ASKED = 5  # suggestions for one trial
DRAWN = 5000  # samples for one trial; a space or limit that leaves nothing new is noticed by that

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Study:
    """Reads the trials that a folder holds already; trials that were cut short come first, in their own folders.

    Parameters
    ----------
    search : Search

    Attributes
    ----------
    exhausted : bool
        Whether nothing was found that is left to try.
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.trials = read_trials(search.folder)
        self.refused = read_refused(search.folder)
        self.noted = {self._refusal(row) for row in self.refused}
        # What is tried depends on seed and past alone, and a search that goes on doesn't repeat its first draws.
        self.rng = np.random.default_rng([search.seed, len(self.trials), len(self.refused)])
        self.study = _study(search, int(self.rng.integers(2**32)))
        self.asked: dict[int, optuna.Trial] = {}
        self.misses = 0
        self.exhausted = False
        self.tried = set()
        for trial in self.trials.values():
            point, drawn = self._walk(trial.decisions)
            self.tried.add(_content(drawn))
            if trial.state != "running":
                self._tell(point, trial)
            else:
                self.asked[trial.number] = point
        self.interrupted = deque(self.asked)
        begun = {trial.origin for trial in self.trials.values()} | {each["origin"] for each in self.refused}
        self.starts = deque((name, point) for name, point in search.starts if name not in begun)

    def begin(self) -> Trial | None:
        """The next trial, written down with its architecture; None where there is nothing left to try."""
        if self.interrupted:
            return self.trials[self.interrupted.popleft()]
        if len(self.trials) >= self.search.trials:
            return None
        trial = self._start() or self._suggested() or self._drawn()
        self.exhausted = trial is None
        return trial

    def note_epoch(self, number: int, row: dict[str, Any]) -> None:
        """Write down an epoch of a trial."""
        trial = self.trials[number]
        if all(row["epoch"] != each["epoch"] for each in trial.of_fold(row.get("fold", 0))):
            self._write(replace(trial, curve=(*trial.curve, _plain(row))))

    def note_fold(self, number: int, fold: int) -> bool:
        """Write down a fold that was finished, and tell whether the trial is clearly behind with it."""
        trial = self.trials[number]
        others = [row for row in trial.curve if row.get("fold", 0) != fold]
        trial = replace(trial, curve=(*others, *self._history(trial, fold)))
        self._write(trial)
        return self.search.goal.is_behind(trial, self.trials)

    def folds(self, number: int) -> tuple[int, int]:
        """How many folds of a trial were trained to their end, and of how many."""
        files = [_history_file(each) for each in trial_experiments(self.search, self.trials[number])]
        return sum(file.exists() for file in files), len(files)

    def end(self, number: int, state: State, reason: str = "") -> Trial:
        """Write down what came of a trial. What continuing needed is deleted."""
        trial = self.trials[number]
        experiments = trial_experiments(self.search, trial)
        if state == "finished":
            rows = [row for fold in range(len(experiments)) for row in self._history(trial, fold)]
            trial = replace(trial, curve=tuple(rows))
            if not math.isfinite(self.search.goal.value(trial)):
                state, reason = "failed", f"val/{self.search.goal.name} has no value"
        trial = replace(trial, state=state, reason=reason)
        self._write(trial)
        self._tell(self.asked.pop(number), trial)
        for each in experiments:
            shutil.rmtree(str(run_folder(each).checkpoints), ignore_errors=True)
        return trial

    def _history(self, trial: Trial, fold: int) -> list[dict[str, Any]]:
        experiments = trial_experiments(self.search, trial)
        rows = pq.read_table(_history_file(experiments[fold])).to_pylist()
        return [_plain(row if len(experiments) == 1 else {**row, "fold": fold}) for row in rows]

    def _start(self) -> Trial | None:
        """The next of the networks that are tried first."""
        while self.starts:
            origin, decisions = self.starts.popleft()
            point, drawn = self._walk(decisions)
            if trial := self._look_at(drawn, origin):
                return self._enter(trial, drawn, point)
            self.study.tell(point, state=optuna.trial.TrialState.FAIL)
        return None

    def _suggested(self) -> Trial | None:
        """What Optuna suggests, unless it suggests nothing that may be tried a few times in a row."""
        judged = sum(trial.state in ("finished", "pruned") for trial in self.trials.values())
        for _ in range(ASKED if self.search.method == "tpe" and judged >= STARTUP else 0):
            point, drawn = self._walk({})
            if trial := self._look_at(drawn):
                return self._enter(trial, drawn, point)
            if self.misses < judged:
                # TPE learns from it where the limits are. Its good trials are a share of all that it was told, so that
                # more of these than of judged ones would make good ones of the middling.
                self.misses += 1
                point.set_constraint("may_be_tried", 1)
                self.study.tell(point, state=optuna.trial.TrialState.PRUNED)
            else:
                self.study.tell(point, state=optuna.trial.TrialState.FAIL)
        return None

    def _drawn(self) -> Trial | None:
        """A sample drawn at random, which takes far less time than a suggestion."""
        for _ in range(DRAWN):
            drawn = draw(self.search.space, self.search.conditions, at_random(self.rng))
            if trial := self._look_at(drawn):
                return self._enter(trial, drawn, self._walk(drawn.decisions)[0])
        return None

    def _look_at(self, drawn: Sample, origin: str = "") -> Trial | None:
        """A sample as a trial; None where it was tried already, or is refused."""
        if _content(drawn) in self.tried:
            return None
        trial = Trial(max(self.trials, default=-1) + 1, "running", drawn.decisions, drawn.settings, 0, origin)
        try:
            cost = estimate(drawn, self.search.conditions)
            parameters, memory, flops = cost.parameters, cost.peak_bytes, cost.forward_flops
            trial = replace(trial, parameters=parameters, memory_bytes=memory, flops=flops)
            trial_experiments(self.search, trial)
        except ConfigError as error:
            self._refuse(trial, error)
            return None
        return trial

    def _enter(self, trial: Trial, drawn: Sample, point: optuna.Trial) -> Trial:
        self.tried.add(_content(drawn))
        self.asked[trial.number] = point
        write_json(RunFolder(trial_folder(self.search.folder, trial)).architecture, drawn.architecture)
        self._write(trial)
        return trial

    def _walk(self, decisions: Decisions) -> tuple[optuna.Trial, Sample]:
        if decisions:
            self.study.enqueue_trial(dict(decisions))
        point = self.study.ask()
        return point, draw(self.search.space, self.search.conditions, _suggests(point))

    def _tell(self, point: optuna.Trial, trial: Trial) -> None:
        states, value = optuna.trial.TrialState, self.search.goal.value(trial)
        if trial.state == "failed" or not math.isfinite(value):
            self.study.tell(point, state=states.FAIL)
        elif self.search.minimize:
            # Optuna knows no pruning where there are two goals: what a pruned trial had reached is what it is worth.
            self.study.tell(point, [value, math.log10(trial.parameters)])
        elif trial.state == "finished":
            self.study.tell(point, value)
        else:
            for row in trial.of_fold(0):
                if (figure := row.get(self.search.goal.column)) is not None:
                    point.report(figure, row["epoch"])
            self.study.tell(point, state=states.PRUNED)

    def _write(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        write_json(SearchFolder(self.search.folder).record(trial.name), trial_content(trial))

    def _refuse(self, trial: Trial, error: ConfigError) -> None:
        row = {"origin": trial.origin, "reason": error.problem.strip(), "decisions": trial.decisions}
        if (key := self._refusal(row)) in self.noted:
            return
        self.noted.add(key)
        self.refused.append(row)
        self.search.folder.mkdir(parents=True, exist_ok=True)
        with SearchFolder(self.search.folder).refused.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def _refusal(self, row: dict[str, Any]) -> str:
        """What is refused and why; the same network with another learning rate is the same."""
        network = {name: label for name, label in row["decisions"].items() if name not in self.search.space.experiment}
        return json.dumps([row["origin"], row["reason"], network], sort_keys=True)


def read_refused(folder: Path) -> list[dict[str, Any]]:
    """Samples that were refused before they were born: origin, reason, decisions."""
    path = SearchFolder(folder).refused
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    # A line that was cut short by the end of its process says nothing.
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def _study(search: Search, seed: int) -> optuna.Study:
    sampler = optuna.samplers.TPESampler(n_startup_trials=STARTUP, seed=seed)
    wanted = StudyDirection.MAXIMIZE if search.goal.sign > 0 else StudyDirection.MINIMIZE
    directions = [wanted, StudyDirection.MINIMIZE] if search.minimize else [wanted]
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


def _history_file(experiment: Experiment) -> Path:
    return Path(str(run_folder(experiment).history))


def _content(drawn: Sample) -> str:
    return json.dumps([drawn.architecture, drawn.settings], sort_keys=True)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    """Numbers of an epoch as JSON holds them."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
        if key in ("epoch", "fold", "seconds", "learning_rate") or key.startswith(("train_", "val_"))
    }
