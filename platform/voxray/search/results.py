"""The results of a search: the leaderboard, and the winner as files for `voxray train`."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import tomli_w

from voxray.runs.folder import RunFolder, SearchFolder
from voxray.search.costs import TrialCost
from voxray.search.plan import nested
from voxray.search.trials import Goal, Trial, trial_folder
from voxray.storage.atomic import write_json, write_text
from voxray.storage.paths import read_bytes


def leaderboard(goal: Goal, trials: Mapping[int, Trial], cost: TrialCost) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the leaderboard, the best first: results, then settings, then decisions."""
    ranked = goal.ranked(trials)
    front = {trial.number for trial in pareto_front(goal, ranked, cost)}
    settings = dict.fromkeys(key for trial in ranked for key in trial.settings)
    names = dict.fromkeys(name for trial in ranked for name in trial.decisions if name not in settings)
    results = [_result(goal, trial, trial.number in front) for trial in ranked]
    rows = [
        [rank, *result.values(), *map(trial.settings.get, settings), *map(trial.decisions.get, names)]
        for rank, (trial, result) in enumerate(zip(ranked, results, strict=True), 1)
    ]
    return ["rank", *results[0], *settings, *names], rows


def _result(goal: Goal, trial: Trial, in_front: bool) -> dict[str, Any]:
    return {
        "trial": trial.name,
        "state": trial.state,
        "value": none_if_nan(goal.value(trial)),
        "spread": none_if_nan(goal.spread(trial)),
        "folds": trial.folds,
        "front": "yes" if in_front else "no",
        "epochs": len(trial.curve),
        "parameters": trial.parameters,
        "memory_mib": round(trial.memory_bytes / 2**20, 1),
        "mflops": round(trial.flops / 1e6, 2),
        "seconds": round(sum(row["seconds"] for row in trial.curve), 2),
        "origin": trial.origin,
        "reason": trial.reason,
    }


def write_leaderboard(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    write_text(path, text.getvalue())


def write_winner(folder: Path, winner: Trial) -> list[str]:
    """Write ``best/architecture.json`` and ``best/settings.toml``; returns the ``--set`` values of the winner."""
    best, architecture = SearchFolder(folder), RunFolder(trial_folder(folder, winner)).architecture
    write_json(best.best_architecture, json.loads(read_bytes(architecture)))
    settings = {key: value for key, value in winner.settings.items() if value is not None}  # TOML has no null
    write_text(best.best_settings, tomli_w.dumps(nested(settings)))
    # JSON writes scalars and lists as TOML does.
    words = (f"{key}={json.dumps(value)}" for key, value in winner.settings.items())
    return [f"model.architecture={best.best_architecture}", *words]


def pareto_front(goal: Goal, trials: Iterable[Trial], cost: TrialCost) -> list[Trial]:
    """Finished trials that no trial of the same or a lower cost beats, from the lowest cost to the highest."""
    scored = [(goal.sign * goal.value(trial), trial) for trial in trials if trial.state == "finished"]
    finite = [(score, trial) for score, trial in scored if math.isfinite(score) and math.isfinite(cost.of(trial))]
    front, best = [], -math.inf
    for score, trial in sorted(finite, key=lambda pair: (cost.of(pair[1]), -pair[0])):
        if score > best:
            front.append(trial)
            best = score
    return front


def none_if_nan(value: float) -> float | None:
    """None in place of NaN, which tables cannot hold."""
    return value if math.isfinite(value) else None
