import csv
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pyarrow.parquet as pq
import pytest
from scenes import SMALL_NET, experiment, write_toml

from voxray.cli import main
from voxray.config.experiment import Experiment
from voxray.on_ray.tune import first_rung
from voxray.search.book import read_refused
from voxray.search.trials import Goal, read_trials

SPACE = """{
  "architecture": [
    {"type": "C", "activation": "relu", "num_output": {"choice": [2, 4, 6, 8]}, "kernel_size": [3, 3, 3],
      "stride": [1, 1, 1]},
    {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]},
    {"type": "FC", "activation": "relu", "num_output": {"int": [4, 16, 4]}, "drop_out": 10},
    {"type": "T", "activation": null}
  ],
  "experiment": {
    "training.learning_rate": {"log_uniform": [1e-4, 1e-2]},
    "training.l2": {"choice": [0.0, 1e30]}
  }
}"""


def command(folder: Path, spec: Experiment, *more: str) -> list[str]:
    toml, space = write_toml(folder / "small.toml", spec), folder / "space.json"
    space.write_text(SPACE)
    options = ["--space", str(space), "--out", str(folder / "search"), "--metric", "val/roc_auc"]
    return ["tune", str(toml), *options, *more]


@pytest.mark.usefixtures("ray_here")
def test_a_search_records_a_trial_that_fails_and_its_winner_can_be_trained(
    luna: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The first trial is the experiment itself, whose penalty makes the loss infinite.
    spec = experiment(luna, out, training={"epochs": 3, "optimizer": "sgd", "l2": 1e30})
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path, spec, "--trials", "4", "--seed", "1"))
    assert ended.value.code == 0
    trials = read_trials(tmp_path / "search")
    assert trials[0].origin == "architecture.json"
    assert trials[0].state == "failed"
    assert "the training loss is" in trials[0].reason
    assert "running" not in {trial.state for trial in trials.values()}
    rows = list(csv.DictReader((tmp_path / "search" / "leaderboard.csv").read_text().splitlines()))
    assert len(rows) == 4
    assert (tmp_path / "search" / "report.html").exists()
    repeat = capsys.readouterr().out.rpartition("repeat it with: voxray ")[2]
    with pytest.raises(SystemExit):
        main([*shlex.split(repeat), "--no-ray"])
    winner = Goal("roc_auc", "loss").winner(trials)
    assert winner is not None
    again = pq.read_table(out / "history.parquet")["val_roc_auc"].to_pylist()
    assert again == pytest.approx([row["val_roc_auc"] for row in winner.curve])


@pytest.mark.usefixtures("ray_here")
def test_a_search_that_finds_nothing_to_try_says_so(
    luna: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path, experiment(luna, out), "--trials", "4", "--max-parameters", "10"))
    assert ended.value.code == 1
    assert "refused or tried already, the search ends" in capsys.readouterr().out
    assert len(read_refused(tmp_path / "search")) == 1 + 4 * 4  # the start, and each network of the space


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (2, 2), (6, 2), (16, 2), (24, 3), (100, 12)])
def test_trials_are_compared_after_an_eighth_of_the_epochs_but_not_after_the_first(epochs: int, first: int) -> None:
    assert first_rung(epochs) == first


def test_a_search_that_is_killed_goes_on_without_repeating_what_is_finished(
    luna: Path, out: Path, tmp_path: Path
) -> None:
    (out.parent / "architecture.json").write_text(SMALL_NET)
    words = command(tmp_path, experiment(luna, out, training={"epochs": 2}), "--trials", "4", "--search", "random")
    environment = {**os.environ, "RAY_TMPDIR": "/tmp/vrt"}
    environment.pop("RAY_ADDRESS", None)
    run = [sys.executable, "-c", "from voxray.cli import main; main()", *words]
    process = subprocess.Popen(run, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    search, deadline = tmp_path / "search", time.monotonic() + 300
    while not any(trial.state != "running" for trial in read_trials(search).values()):
        assert process.poll() is None, "the search ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    for child in children:
        if child.is_running():
            child.kill()
    done = {number: trial for number, trial in read_trials(search).items() if trial.state != "running"}
    assert 0 < len(done) < 4
    written = {
        number: (search / "trials" / trial.name / "trial.json").stat().st_mtime_ns for number, trial in done.items()
    }
    again = subprocess.run(run, env=environment, capture_output=True, encoding="utf-8", check=False)
    assert again.returncode == 0, again.stderr
    assert f"{len(done)} of 4 trials are finished already, going on" in again.stdout
    trials = read_trials(search)
    assert sorted(trials) == [0, 1, 2, 3]
    assert not any(trial.state == "running" for trial in trials.values())
    for number, moment in written.items():
        assert (search / "trials" / trials[number].name / "trial.json").stat().st_mtime_ns == moment
    assert len({json.dumps(trial.decisions) for trial in trials.values()}) == 4
