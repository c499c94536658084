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

from voxray.config.decisions import Choice, Distribution, Int, Label, LogUniform
from voxray.config.sampling import Decisions, Sample, sample
from voxray.config.space_forms import Suggest
from voxray.errors import ConfigError
from voxray.files import write_json
from voxray.search.plan import Search, trial_experiment, weigh
from voxray.search.trials import TRIAL_FILE, State, Trial, read_trials, trial_content, trial_folder

REFUSED = "refused.jsonl"
ATTEMPTS = 2000  # for one trial; a space or limit that leaves nothing new is noticed by that

optuna.logging.set_verbosity(optuna.logging.WARNING)


class Book:
    """Reads the trials that a folder holds already; trials that were cut short come first, in their own folders.

    Parameters
    ----------
    search : Search
    """

    def __init__(self, search: Search) -> None:
        self.search = search
        self.trials = read_trials(search.folder)
        self.refused = read_refused(search.folder)
        self.study = _study(search, len(self.trials) + len(self.refused))
        self.asked: dict[int, optuna.Trial] = {}
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
        for _ in range(ATTEMPTS):
            origin, decisions = self.starts.popleft() if self.starts else ("", {})
            point, drawn = self._walk(decisions)
            content = _content(drawn)
            trial = Trial(max(self.trials, default=-1) + 1, "running", drawn.decisions, drawn.settings, 0, origin)
            try:
                trial = replace(trial, parameters=weigh(self.search, drawn))
                trial_experiment(self.search, trial)
            except ConfigError as error:
                self._refuse(trial, error)
            else:
                if content not in self.tried:
                    self.tried.add(content)
                    self.asked[trial.number] = point
                    write_json(trial_folder(self.search.folder, trial) / "architecture.json", drawn.architecture)
                    self._write(trial)
                    return trial
            self.study.tell(point, state=optuna.trial.TrialState.FAIL)
        return None

    def note_epoch(self, number: int, row: dict[str, Any]) -> None:
        """Write down an epoch of a trial."""
        trial = self.trials[number]
        if all(row["epoch"] != each["epoch"] for each in trial.curve):
            self._write(replace(trial, curve=(*trial.curve, _plain(row))))

    def end(self, number: int, state: State, reason: str = "") -> Trial:
        """Write down what came of a trial. What continuing needed is deleted."""
        trial, folder = self.trials[number], trial_folder(self.search.folder, self.trials[number])
        if state == "finished":
            rows = pq.read_table(folder / "history.parquet").to_pylist()
            trial = replace(trial, curve=tuple(map(_plain, rows)))
            if not math.isfinite(self.search.goal.value(trial)):
                state, reason = "failed", f"val/{self.search.goal.name} has no value"
        trial = replace(trial, state=state, reason=reason)
        self._write(trial)
        self._tell(self.asked.pop(number), trial)
        shutil.rmtree(folder / "checkpoints", ignore_errors=True)
        return trial

    def _walk(self, decisions: Decisions) -> tuple[optuna.Trial, Sample]:
        if decisions:
            self.study.enqueue_trial(dict(decisions))
        point = self.study.ask()
        return point, sample(self.search.space, self.search.rank, _suggests(point))

    def _tell(self, point: optuna.Trial, trial: Trial) -> None:
        states = optuna.trial.TrialState
        for row in trial.curve:
            value = row.get(self.search.goal.column)
            if value is not None:
                point.report(value, row["epoch"])
        if trial.state == "finished":
            self.study.tell(point, self.search.goal.value(trial))
        else:
            self.study.tell(point, state=states.PRUNED if trial.state == "pruned" else states.FAIL)

    def _write(self, trial: Trial) -> None:
        self.trials[trial.number] = trial
        write_json(trial_folder(self.search.folder, trial) / TRIAL_FILE, trial_content(trial))

    def _refuse(self, trial: Trial, error: ConfigError) -> None:
        row = {"origin": trial.origin, "reason": error.problem.strip(), "decisions": trial.decisions}
        self.refused.append(row)
        self.search.folder.mkdir(parents=True, exist_ok=True)
        with (self.search.folder / REFUSED).open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def read_refused(folder: Path) -> list[dict[str, Any]]:
    """Samples that were refused before they were born: origin, reason, decisions."""
    path = folder / REFUSED
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True) if path.exists() else []
    # A line that was cut short by the end of its process says nothing.
    return [json.loads(line) for line in lines if line.endswith("}\n")]


def _study(search: Search, known: int) -> optuna.Study:
    # What is suggested depends on seed and past alone, and a search that goes on doesn't repeat its first draws.
    seed = int(np.random.SeedSequence([search.seed, known]).generate_state(1)[0])
    sampler = optuna.samplers.TPESampler(seed=seed) if search.method == "tpe" else optuna.samplers.RandomSampler(seed)
    return optuna.create_study(sampler=sampler, direction="maximize" if search.goal.sign > 0 else "minimize")


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
    """Numbers of an epoch as JSON holds them."""
    return {
        key: None if isinstance(value, float) and not math.isfinite(value) else value
        for key, value in row.items()
        if key in ("epoch", "seconds", "learning_rate") or key.startswith(("train_", "val_"))
    }
