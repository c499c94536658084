"""What another process does between a stage's first look at a run and its lock."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_runs import ApiRuns
from scenes import SMALL_NET, experiment

from voxray.config.experiment import Experiment
from voxray.config.folds import fold_experiments
from voxray.config.load import read_experiment
from voxray.errors import NotReadyError, WorkError
from voxray.executors.local import LocalExecutor
from voxray.runs.folder import RunFolder, run_folder
from voxray.stages import pipeline
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.report import report
from voxray.stages.train import train
from voxray.storage.atomic import write_json


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def other(spec: Experiment) -> Experiment:
    """The same experiment, trained otherwise."""
    return spec.model_copy(update={"training": spec.training.model_copy(update={"learning_rate": 0.02})})


def once(action: Callable[[], object]) -> Callable[[str], None]:
    """A callback that lets another process act at the first line of a stage."""
    waiting = [action]

    def say(line: str) -> None:
        del line
        if waiting:
            waiting.pop()()

    return say


@pytest.fixture(scope="module")
def finished(luna: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An evaluated run, not to be changed."""
    folder = tmp_path_factory.mktemp("interleaved")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(luna, folder / "run", store={"path": str(folder / "store")}, training={"epochs": 1})
    for stage in (ingest, train, evaluate):
        stage(spec, LocalExecutor(), quiet)
    return spec


@pytest.fixture
def spec(finished: Experiment, tmp_path: Path) -> Experiment:
    """A copy of the run, on the same store."""
    shutil.copytree(finished.out, tmp_path / "run")
    return finished.model_copy(update={"out": str(tmp_path / "run")})


def before_the_lock(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Let another process act just before a stage takes the lock of a run for the first time."""
    locked, act = RunFolder.locked, once(action)

    def act_and_lock(folder: RunFolder, **options: bool) -> Any:
        act("")
        return locked(folder, **options)

    monkeypatch.setattr(RunFolder, "locked", act_and_lock)


def test_the_model_of_another_training_is_not_evaluated(spec: Experiment) -> None:
    folder = run_folder(spec)
    folder.metrics.write_text("{}")  # so that the evaluation says that it evaluates again
    with pytest.raises(NotReadyError, match="no finished training of this experiment"):
        evaluate(spec, LocalExecutor(), once(lambda: train(other(spec), LocalExecutor(), quiet)))
    assert json.loads(folder.experiment.read_text())["training"]["learning_rate"] == 0.02
    assert not folder.metrics.exists()


def test_a_training_is_not_repeated_after_another_process_did_it(spec: Experiment) -> None:
    said: list[str] = []
    act = once(lambda: train(other(spec), LocalExecutor(), quiet))

    def say(line: str) -> None:
        act(line)
        said.append(line)

    train(other(spec), LocalExecutor(), say)
    assert said[-1] == "train: finished by another process meanwhile, reused"


def test_an_evaluation_is_not_repeated_after_another_process_did_it(
    spec: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_folder(spec).metrics.write_text("{}")
    said: list[str] = []
    before_the_lock(monkeypatch, lambda: evaluate(spec, LocalExecutor(), quiet))
    evaluate(spec, LocalExecutor(), said.append)
    assert "evaluate: finished by another process meanwhile, reused" in said


def test_a_report_of_another_training_waits_for_its_evaluation(
    spec: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    before_the_lock(monkeypatch, lambda: train(other(spec), LocalExecutor(), quiet))
    with pytest.raises(NotReadyError, match="no finished training of this experiment"):
        report(spec, quiet)
    assert not run_folder(spec).report.exists()


def test_folds_that_changed_meanwhile_are_not_joined(
    api_runs: ApiRuns, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(api_runs.folds, tmp_path / "run")
    known = read_experiment(api_runs.folds / "experiment.json")
    spec = known.model_copy(update={"out": str(tmp_path / "run")})
    join = pipeline._join

    def train_again(experiment: Experiment, *rest: Any) -> None:
        train(other(fold_experiments(spec)[0]), LocalExecutor(), quiet)
        join(experiment, *rest)

    monkeypatch.setattr(pipeline, "_join", train_again)
    with pytest.raises(WorkError, match="fold_0: another process has changed it meanwhile"):
        pipeline.run(spec, LocalExecutor(), quiet)
    assert not run_folder(spec).metrics.exists()


def test_a_training_says_what_differs_only_where_it_does(spec: Experiment) -> None:
    folder = run_folder(spec)
    records = json.loads(folder.stages.read_text())
    records["train"]["key"] = "another"  # of settings that nobody knows any more
    write_json(folder.stages, records)
    said: list[str] = []
    train(spec, LocalExecutor(), said.append)
    assert said[0].startswith("train: the settings or the architecture differ from those of the finished training; ")
