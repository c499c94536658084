"""What a search leaves behind: the leaderboard, and its winner as files that `voxray train` takes."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from voxray.runs.folder import RunFolder, SearchFolder
from voxray.search.trials import Goal, Trial, trial_folder
from voxray.storage.atomic import write_json, write_text
from voxray.storage.paths import read_bytes

COSTS = ("parameters", "memory_mib", "mflops")
FIRST = ("rank", "trial", "state", "value", "spread", "folds", "front", "epochs", *COSTS, "seconds", "origin", "reason")


def leaderboard(goal: Goal, trials: Mapping[int, Trial]) -> tuple[list[str], list[list[Any]]]:
    """Columns and rows of the leaderboard, the best first: figures, then settings, then decisions."""
    ranked = goal.ranked(trials)
    front = {trial.number for trial in pareto_front(goal, ranked)}
    settings, decisions = (_all_keys(each) for each in zip(*((t.settings, t.decisions) for t in ranked), strict=True))
    names = [name for name in decisions if name not in settings]
    rows = [
        [
            spatial_dims,
            trial.name,
            trial.state,
            none_if_nan(goal.value(trial)),
            none_if_nan(goal.spread(trial)),
            trial.folds,
            "yes" if trial.number in front else "no",
            len(trial.curve),
            trial.parameters,
            round(trial.memory_bytes / 2**20, 1),
            round(trial.flops / 1e6, 2),
            round(sum(row["seconds"] for row in trial.curve), 2),
            trial.origin,
            trial.reason,
            *(trial.settings.get(key) for key in settings),
            *(trial.decisions.get(name) for name in names),
        ]
        for spatial_dims, trial in enumerate(ranked, 1)
    ]
    return [*FIRST, *settings, *names], rows


def write_leaderboard(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A CSV file."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([columns, *rows])
    write_text(path, text.getvalue())


def write_winner(folder: Path, winner: Trial) -> list[str]:
    """``best/architecture.json`` and ``best/settings.toml``; returns what ``--set`` is given to repeat the winner."""
    best, architecture = SearchFolder(folder), RunFolder(trial_folder(folder, winner)).architecture
    write_json(best.best_architecture, json.loads(read_bytes(architecture)))
    # JSON writes scalars and lists as TOML does.
    settings = {key: json.dumps(value) for key, value in winner.settings.items()}
    write_text(best.best_settings, "".join(f"{key} = {value}\n" for key, value in settings.items()))
    return [f"model.architecture={best.best_architecture}", *(f"{key}={value}" for key, value in settings.items())]


def pareto_front(goal: Goal, trials: Iterable[Trial]) -> list[Trial]:
    """Finished trials that none of as few parameters beats, from the smallest on."""
    known = [trial for trial in trials if trial.state == "finished" and math.isfinite(goal.value(trial))]
    front: list[Trial] = []
    for trial in sorted(known, key=lambda each: (each.parameters, -goal.sign * goal.value(each))):
        if not front or goal.sign * goal.value(trial) > goal.sign * goal.value(front[-1]):
            front.append(trial)
    return front


def none_if_nan(value: float) -> float | None:
    """Tables have no NaN."""
    return value if math.isfinite(value) else None


def _all_keys(mappings: Iterable[Mapping[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for mapping in mappings for key in mapping))
