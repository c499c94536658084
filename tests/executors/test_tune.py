import csv
import html
import json
import math
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import SMALL_NET, experiment, write_toml

from voxray.cli.app import main
from voxray.config.experiment import Experiment
from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.executors.ray.pruner import first_rung
from voxray.executors.ray.tune_trials import trial_resources
from voxray.reporting.run.reproduce import shorten_paths
from voxray.search.study import read_rejected
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
    "training.weight_decay": {"choice": [0.0, 1e30]}
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
    spec = experiment(luna, out, training={"epochs": 3, "optimizer": "sgd", "weight_decay": 1e30})
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path, spec, "--trials", "4", "--seed", "1", "--search", "random"))
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
    shown = html.unescape((tmp_path / "search" / "report.html").read_text())
    assert shorten_paths(repeat.strip()) in shown
    with pytest.raises(SystemExit):
        main([*shlex.split(repeat), "--no-ray"])
    assert not (out / "history.parquet").exists()  # the experiment's own run stays as it is
    winner = Goal("roc_auc", "loss").winner(trials)
    assert winner is not None
    again = pq.read_table(tmp_path / "search" / "best" / "trained_run" / "history.parquet")["val_roc_auc"].to_pylist()
    assert again == pytest.approx([row["val_roc_auc"] for row in winner.curve])


@pytest.mark.usefixtures("ray_here")
def test_a_search_that_finds_nothing_to_try_says_so_and_another_one_in_its_folder_is_refused(
    luna: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = command(tmp_path, experiment(luna, out), "--trials", "4", "--max-parameters", "10")
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 1
    assert "rejected or trained before, the search ends" in capsys.readouterr().out
    assert len(read_rejected(tmp_path / "search")) == 1 + 4 * 4  # the start, and each network of the space
    (tmp_path / "space.json").write_text(SPACE.replace("16", "12"))
    with pytest.raises(SystemExit) as ended:
        main([*words, "--set", "training.epochs=3", "--set", "augment.flip=['x']"])
    assert ended.value.code == 2
    told = " ".join(capsys.readouterr().err.split())
    changed = 'augment.flip was [], now ["x"]; training.epochs was 2, now 3; the file of the space has changed'
    assert f"contains another search: {changed}. Choose another --out." in told


@pytest.mark.parametrize(("epochs", "first"), [(1, 1), (2, 2), (6, 2), (16, 2), (24, 3), (100, 12)])
def test_trials_are_compared_after_an_eighth_of_the_epochs_but_not_after_the_first(epochs: int, first: int) -> None:
    assert first_rung(epochs) == first


@given(
    workers=st.integers(1, 4),
    cpus=st.integers(0, 40),
    gpus=st.integers(0, 9),
    device=st.sampled_from(["auto", "cpu", "cuda"]),
)
def test_trials_that_run_together_fit_their_cluster(workers: int, cpus: int, gpus: int, device: str) -> None:
    training = TrainingSpec.model_validate({"workers": workers, "device": device, "batch_size": 64})
    try:
        share, together = trial_resources(training, cpus, gpus)
    except ConfigError:
        assert cpus < workers or (device == "cuda" and gpus < workers)
        return
    assert together >= 1
    assert together * workers * share["cpu"] <= cpus
    if "gpu" in share:
        on_one = math.floor(1 / share["gpu"] + 1e-9)  # a fraction lies on one GPU, whatever is left of others
        assert together * workers <= gpus * on_one
    else:
        assert device != "cuda"
        assert device == "cpu" or gpus < workers


@pytest.mark.parametrize(
    ("workers", "cpus", "gpus", "expected"),
    [
        (1, 2, 0, ({"cpu": 1}, 2)),
        (1, 16, 1, ({"cpu": 1, "gpu": 0.5}, 2)),
        (1, 1, 1, ({"cpu": 1, "gpu": 1}, 1)),
        (1, 3, 2, ({"cpu": 1, "gpu": 0.5}, 3)),
        (2, 16, 1, ({"cpu": 1}, 8)),
        (2, 16, 4, ({"cpu": 1, "gpu": 1}, 2)),
    ],
)
def test_trials_share_gpus_unless_they_have_several_workers(
    workers: int, cpus: int, gpus: int, expected: tuple[dict[str, float], int]
) -> None:
    assert trial_resources(TrainingSpec(workers=workers), cpus, gpus) == expected


@pytest.mark.usefixtures("ray_here")
def test_ray_tune_itself_prints_nothing(
    luna: Path, out: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path, experiment(luna, out, training={"epochs": 1}), "--trials", "2"))
    assert ended.value.code == 0
    told = capfd.readouterr()
    assert "_run_trial" not in told.out + told.err


@pytest.mark.usefixtures("ray_here")
def test_a_trial_of_several_workers_is_one_of_ray_train(luna: Path, out: Path, tmp_path: Path) -> None:
    spec = experiment(luna, out, training={"epochs": 2, "workers": 2})
    with pytest.raises(SystemExit) as ended:
        main(command(tmp_path, spec, "--trials", "1"))
    assert ended.value.code == 0
    trial = read_trials(tmp_path / "search")[0]
    assert (trial.state, len(trial.curve)) == ("finished", 2)
    assert json.loads((tmp_path / "search/trials/0000/experiment.json").read_text())["training"]["workers"] == 2


@pytest.mark.usefixtures("ray_here")
def test_a_trial_of_several_folds_is_their_mean_and_finished_folds_are_not_repeated(
    luna: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = experiment(luna, out, training={"epochs": 2}, split={"folds": 3})
    words = command(tmp_path, spec, "--trials", "1", "--folds", "2")
    with pytest.raises(SystemExit) as ended:
        main([*words, "--minimize", "parameters"])
    assert ended.value.code == 0
    search = tmp_path / "search"
    trial = read_trials(search)[0]
    assert [(row["fold"], row["epoch"]) for row in trial.curve] == [(0, 1), (0, 2), (1, 1), (1, 2)]
    folds = [search / "trials" / "0000" / f"fold_{fold}" for fold in (0, 1)]
    tables = [pq.read_table(fold / "history.parquet") for fold in folds]
    best = [int(np.argmin(table["val_loss"].to_numpy())) for table in tables]
    values = [table["val_roc_auc"][row].as_py() for table, row in zip(tables, best, strict=True)]
    row = next(csv.DictReader((search / "leaderboard.csv").read_text().splitlines()))
    assert float(row["value"]) == pytest.approx(np.mean(values))
    assert float(row["spread"]) == pytest.approx(np.std(values, ddof=1))
    assert (row["folds"], row["front"]) == ("2", "yes")
    printed = capsys.readouterr().out
    assert "over 2 folds" in printed
    assert "repeat it with: voxray run " in printed
    # As a process leaves it that is killed in its second fold.
    path = search / "trials" / "0000" / "trial.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "state": "running", "curve": trial.curve[:2]}))
    (folds[1] / "history.parquet").unlink()
    written = (folds[0] / "model.safetensors").stat().st_mtime_ns
    with pytest.raises(SystemExit):
        main([*words, "--minimize", "parameters"])
    again = read_trials(search)[0]
    assert (folds[0] / "model.safetensors").stat().st_mtime_ns == written
    assert [each["val_loss"] for each in again.curve] == pytest.approx([each["val_loss"] for each in trial.curve])
    # Of as many folds as the trial, on their stores.
    with pytest.raises(SystemExit) as ended:
        main([*shlex.split(printed.rpartition("repeat it with: voxray ")[2]), "--no-ray"])
    assert ended.value.code == 0
    assert sorted(path.name for path in (search / "best" / "trained_run").glob("fold_*")) == ["fold_0", "fold_1"]


@pytest.mark.usefixtures("ray_here")
def test_a_search_that_is_killed_resumes_without_repeating_what_is_finished(
    luna: Path, out: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (out.parent / "architecture.json").write_text(SMALL_NET)
    words = command(tmp_path, experiment(luna, out, training={"epochs": 2}), "--trials", "4", "--search", "random")
    environment = {**os.environ, "RAY_TMPDIR": "/tmp/vrt"}
    environment.pop("RAY_ADDRESS", None)
    run = [sys.executable, "-c", "from voxray.cli.app import main; main()", *words]
    process = subprocess.Popen(run, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    search, deadline = tmp_path / "search", time.monotonic() + 600
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
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0
    assert f"{len(done)} of 4 trials are finished, resuming" in capsys.readouterr().out
    trials = read_trials(search)
    assert sorted(trials) == [0, 1, 2, 3]
    assert not any(trial.state == "running" for trial in trials.values())
    for number, moment in written.items():
        assert (search / "trials" / trials[number].name / "trial.json").stat().st_mtime_ns == moment
    assert len({json.dumps(trial.decisions) for trial in trials.values()}) == 4


def test_a_search_that_is_asked_to_end_says_how_to_resume(luna: Path, out: Path, tmp_path: Path) -> None:
    spec = experiment(luna, out, training={"epochs": 400})
    words = command(tmp_path, spec, "--trials", "2")
    environment = {**os.environ, "RAY_TMPDIR": "/tmp/vrk"}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        [str(Path(sys.executable).with_name("voxray")), *words],
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    )
    deadline = time.monotonic() + 300
    while not list(tmp_path.glob("search/trials/*/checkpoints/last.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 143
    assert error.splitlines()[-1].startswith("voxray: interrupted; finished work is kept. Resume with: voxray tune ")
    assert "***" not in error  # the stack of Ray's C++
    assert "Traceback" not in error
    status = json.loads((tmp_path / "search" / "status.json").read_text())
    assert status["tune"]["state"] == "interrupted"
