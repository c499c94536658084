"""The end of a search: real trials of small networks, compared on their validation patients."""

import csv
import dataclasses
import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from scenes import experiment
from search.test_study import SPACE

from voxray.executors.local import LocalExecutor
from voxray.search.constraints import Limits
from voxray.search.plan import Search, find_starts, trial_experiments
from voxray.search.space.load import parse_space
from voxray.search.study import Study
from voxray.search.trials import Goal
from voxray.stages.ingest import ingest
from voxray.stages.search_results import write_results


def test_the_end_of_a_search_compares_the_best_with_the_start_and_prefers_the_smaller_of_equals(
    luna: Path, out: Path, tmp_path: Path
) -> None:
    store = str(tmp_path / "store")
    spec = experiment(luna, out, store={"path": store}, split={"val": 0.6, "test": 0.1}, training={"epochs": 1})
    ingest(spec, LocalExecutor(), lambda line: None)
    space, goal = parse_space(SPACE, "space"), Goal("loss", "loss")
    starts, _ = find_starts(space, spec, [tmp_path / "architecture.json"], 3)
    search = Search(tmp_path / "search", spec, space, goal, 4, 0, "tpe", Limits(), starts, (1, 16, 16, 6), 2)
    search = dataclasses.replace(search, prefer="parameters")
    study = Study(search)
    while (trial := study.ask()) is not None:
        LocalExecutor().fit(trial_experiments(search, trial)[0], lambda *_: None, lambda: False)
        study.tell(trial.number, "finished")
    lines: list[str] = []
    write_results(study, LocalExecutor(), lines.append, ["voxray", "train", "small.toml"])
    results = json.loads((search.folder / "results.json").read_text())
    best = goal.winner(study.trials)
    assert best is not None
    assert results["best"] == best.name
    assert any(results["verdict"] in line for line in lines)
    if best.number:
        start = study.trials[0]
        compared = results["against_start"]
        assert compared["value"] == pytest.approx(goal.value(best) - goal.value(start), abs=1e-5)
        assert compared["comparisons"] == 3
        assert compared["patients"] == 5
    chosen = next(trial for trial in study.trials.values() if trial.name == results["chosen"])
    assert chosen.parameters <= best.parameters
    written = json.loads((search.folder / "best" / "architecture.json").read_text())
    assert written == json.loads((search.folder / "trials" / chosen.name / "architecture.json").read_text())
    rows = list(csv.DictReader((search.folder / "leaderboard.csv").read_text().splitlines()))
    assert len(rows) == 4
    assert 'id="verdict"' in (search.folder / "report.html").read_text()
    assert pq.read_table(search.folder / "trials" / chosen.name / "history.parquet").num_rows == 1
