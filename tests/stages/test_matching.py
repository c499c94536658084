"""Stages use a store only for the settings and the data set that it was made from."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from scenes import SMALL_NET, experiment, write_luna, write_toml

import voxray
from voxray.cli.app import main
from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, DataError, NotReadyError, StoreError
from voxray.executors.local import LocalExecutor
from voxray.runs.folder import run_folder
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.pipeline import run
from voxray.stages.report import report
from voxray.stages.train import train
from voxray.store.layout import SOURCES_FILE
from voxray.store.matching import check_provenance
from voxray.store.read import open_store


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def train_stage(spec: Experiment) -> None:
    train(spec, LocalExecutor(), quiet)


def evaluate_stage(spec: Experiment) -> None:
    evaluate(spec, LocalExecutor(), quiet)


def report_stage(spec: Experiment) -> None:
    report(spec, quiet)


def run_stages(spec: Experiment) -> None:
    run(spec, LocalExecutor(), quiet)


def ingest_stage(spec: Experiment) -> None:
    ingest(spec, LocalExecutor(), quiet)


STAGES = [train_stage, evaluate_stage, report_stage, run_stages, ingest_stage]


@pytest.fixture(scope="module")
def finished(luna: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run with all its stages, not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(luna, folder / "run", training={"epochs": 1})
    run_stages(spec)
    return spec


def changed(spec: Experiment, **sections: Any) -> Experiment:
    content = spec.model_dump(mode="json")
    for name, value in sections.items():
        content[name] = {**content[name], **value} if isinstance(value, dict) else value
    return Experiment.model_validate(content)


def state(spec: Experiment) -> dict[str, bytes]:
    """All that a run and its store hold, but for what stages say they are doing."""
    names = {"status.json", ".store.lock"}
    files = (path for path in Path(spec.out).rglob("*") if path.is_file() and path.name not in names)
    return {str(path): path.read_bytes() for path in files}


SETTINGS: list[tuple[dict[str, Any], str]] = [
    ({"seed": 1}, "seed was 0, now 1"),
    ({"split": {"val": 0.3}}, "split.val was 0.25, now 0.3"),
    ({"patches": {"size": [8, 8, 6]}}, "patches.size was [16, 16, 6], now [8, 8, 6]"),
    ({"patches": {"negatives_per_positive": 2}}, "patches.negatives_per_positive.train was 5.0, now 2.0"),
    ({"patches": {"spacing_mm": [1, 1, 1]}}, "patches.spacing_mm was not set, now [1.0, 1.0, 1.0]"),
    ({"patches": {"oversample_rotations": []}}, "patches.oversample_rotations was [90, 180, 270], now []"),
    ({"intensity": {"kind": "zscore"}}, "intensity.kind (statistics of whole scans) was false, now true"),
    ({"store": {"dtype": "float32"}}, "store.dtype was int16, now float32"),
    ({"store": {"chunk_bytes": 2 * 3072}}, "store.chunk_bytes was 12288, now 6144"),
    ({"store": {"shard_bytes": 8 * 3072}}, "store.shard_bytes was 49152, now 24576"),
    ({"privacy": {"key_env": "SOME_KEY"}}, "privacy (pseudonyms) was not set, now true"),
]


@pytest.mark.parametrize(("change", "words"), SETTINGS, ids=[words.split(" was")[0] for _, words in SETTINGS])
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_a_store_of_other_settings_is_refused_by_what_differs_alone(
    finished: Experiment, monkeypatch: pytest.MonkeyPatch, stage: Any, change: dict[str, Any], words: str
) -> None:
    monkeypatch.setenv("SOME_KEY", "0123456789abcdef" * 4)
    before = state(finished)
    with pytest.raises(StoreError) as refusal:
        stage(changed(finished, **change))
    told = refusal.value.problem
    assert told.startswith("holds a store with other settings: ")
    assert words in told
    assert told.count(" was ") == 1
    assert "--set out=" in refusal.value.remedy
    assert state(finished) == before


@pytest.fixture
def moved(luna: Path, tmp_path: Path) -> Path:
    """The data set in another place."""
    return Path(shutil.copytree(luna, tmp_path / "moved"))


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
def test_another_data_set_is_refused(finished: Experiment, tmp_path: Path, stage: Any) -> None:
    write_luna(tmp_path / "other", 8, seed=1)
    before = state(finished)
    with pytest.raises(StoreError, match="was made from another data set"):
        stage(changed(finished, data={"root": str(tmp_path / "other")}))
    with pytest.raises(DataError, match="no such folder"):
        stage(changed(finished, data={"root": str(tmp_path / "nowhere")}))
    assert state(finished) == before


@pytest.mark.parametrize("stage", [evaluate_stage, report_stage, train_stage], ids=lambda stage: stage.__name__)
def test_a_data_set_that_was_moved_is_the_same(finished: Experiment, moved: Path, stage: Any) -> None:
    before = state(finished)
    stage(changed(finished, data={"root": str(moved)}))
    assert {name for name, content in state(finished).items() if before[name] != content} <= {
        str(run_folder(finished).report)
    }


def test_the_data_set_is_not_read_where_it_is_named_as_before(
    luna: Path, out: Path, tmp_path: Path, moved: Path
) -> None:
    spec = experiment(moved, out, training={"epochs": 1})
    ingest_stage(spec)
    moved.rename(tmp_path / "gone")
    train_stage(spec)
    evaluate_stage(spec)
    report_stage(spec)


def test_a_list_that_has_changed_makes_another_data_set(finished: Experiment, moved: Path) -> None:
    lines = (moved / "candidates.csv").read_text().splitlines()
    (moved / "candidates.csv").write_text("\n".join(lines[:-1]) + "\n")
    for stage in STAGES:
        with pytest.raises(StoreError, match="its lists of scans and samples have changed"):
            stage(changed(finished, data={"root": str(moved)}))


def test_settings_of_the_data_set_are_compared_by_what_they_list(finished: Experiment, luna: Path) -> None:
    # The same list, by its name.
    evaluate_stage(changed(finished, data={"candidates": "candidates.csv"}))
    with pytest.raises(DataError, match=r"other\.csv"):
        evaluate_stage(changed(finished, data={"candidates": "other.csv"}))


def test_no_place_is_in_a_store(finished: Experiment) -> None:
    for path in finished.store_path.rglob("*"):
        if path.is_file():
            assert str(finished.data_path).encode() not in path.read_bytes()


def test_a_report_of_another_evaluation_waits_for_it(finished: Experiment) -> None:
    with pytest.raises(NotReadyError, match="no finished evaluation of this experiment"):
        report_stage(changed(finished, evaluation={"target_recall": 0.5}))


@pytest.mark.parametrize("stage", STAGES[:3], ids=lambda stage: stage.__name__)
def test_a_cross_validation_has_no_store_of_its_own(finished: Experiment, stage: Any) -> None:
    with pytest.raises(ConfigError, match=r"has 3 folds, each with a store of its own\. Use voxray run, or give"):
        stage(changed(finished, split={"folds": 3}))
    with pytest.raises(StoreError, match=r"split.folds was not set, now 3; split.fold was not set, now 0"):
        stage(changed(finished, split={"folds": 3, "fold": 0}))


def test_the_settings_of_a_run_are_those_that_applied(luna: Path, out: Path) -> None:
    spec = experiment(luna, out, training={"epochs": 1})
    run_stages(spec)
    recorded = json.loads(run_folder(spec).experiment.read_text())
    for stage in (train_stage, evaluate_stage):
        with pytest.raises(StoreError):
            stage(changed(spec, patches={"size": [8, 8, 6]}))
    assert json.loads(run_folder(spec).experiment.read_text()) == recorded


@pytest.mark.parametrize("command", ["train", "evaluate", "report"])
def test_a_command_says_what_differs_in_one_line(
    finished: Experiment, tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    file = write_toml(tmp_path / "experiment.toml", finished)
    with pytest.raises(SystemExit):
        main([command, str(file), "--set", "patches.size=[8, 8, 6]", *(["--no-ray"] if command != "report" else [])])
    error = " ".join(capsys.readouterr().err.split())
    assert "patches.size was [16, 16, 6], now [8, 8, 6]. Give another folder with --set out=" in error


def test_the_api_refuses_as_the_commands_do(finished: Experiment) -> None:
    other = changed(finished, patches={"size": [8, 8, 6]})
    for function in (voxray.train, voxray.evaluate, voxray.report, voxray.ingest, voxray.run):
        with pytest.raises(StoreError, match=r"patches\.size was"):
            function(other)


def test_other_settings_and_other_data_are_both_said() -> None:
    before = {"manifest": "a", "seed": 0, "patches": {"sampling": "grid", "spacing_mm": None}}
    with pytest.raises(StoreError, match="seed was 0, now 1, and was made from another data set"):
        check_provenance(Path("store"), before, {**before, "manifest": "b", "seed": 1})
    # With another sampling, the manifest of the same data set is another one.
    center = {**before, "manifest": "b", "patches": {"sampling": "center", "spacing_mm": None}}
    with pytest.raises(StoreError, match=r"settings: patches.sampling was grid, now center\. Give"):
        check_provenance(Path("store"), before, center)


def test_a_store_without_its_sources_is_compared_by_its_lists(luna: Path, out: Path) -> None:
    spec = experiment(luna, out, training={"epochs": 1})
    ingest_stage(spec)
    sources = spec.store_path / SOURCES_FILE
    for content in (None, b"", b"PAR1garbage"):
        sources.unlink(missing_ok=True)
        if content is not None:
            sources.write_bytes(content)
        train_stage(spec)
    ingest_stage(spec)
    assert open_store(spec.store_path)
    assert sources.stat().st_size > 500
