import errno
import shutil
from pathlib import Path
from typing import Any

import pytest
from api_runs import ApiRuns

import voxray
from voxray.config.experiment import Experiment
from voxray.errors import NotReadyError, StoreError, WorkError
from voxray.runs.folder import RunFolder
from voxray.runs.read import read_run_experiment

FILES = (
    "experiment.json",
    "architecture.json",
    "model.safetensors",
    "history.parquet",
    "metrics.json",
    "predictions/val.parquet",
    "predictions/test.parquet",
)


@pytest.fixture
def copied(api_runs: ApiRuns, tmp_path: Path) -> Experiment:
    """A finished run of its own for a test that damages it, on the store of the shared one."""
    shutil.copytree(api_runs.candidates, tmp_path / "run", ignore=shutil.ignore_patterns("store", "wandb"))
    config = voxray.load_config(api_runs.names["experiment_file"], {"store.path": str(api_runs.candidates / "store")})
    return config.model_copy(update={"out": str(tmp_path / "run")})


def contents(folder: Path) -> dict[str, bytes]:
    """Files that are the same bytes each time; a history has seconds, an experiment its folder."""
    names = [name for name in FILES if name not in ("experiment.json", "history.parquet")]
    return {name: (folder / name).read_bytes() for name in names}


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_of_a_finished_run_is_named_and_made_again(copied: Experiment, name: str) -> None:
    folder = Path(copied.out)
    before = contents(folder)
    whole = (folder / name).read_bytes()
    for damaged in (None, b"", whole[: len(whole) // 2], b"\x93garbage" * 20):
        (folder / name).unlink() if damaged is None else (folder / name).write_bytes(damaged)
        if name != "experiment.json" or damaged is not None:
            with pytest.raises((StoreError, NotReadyError), match=r"[Rr]un voxray|Train again"):
                voxray.load_run(folder) and voxray.report(copied)
        lines: list[str] = []
        voxray.run(copied, on_status=lines.append)
        assert [line for line in lines if f"{name} is {'missing' if damaged is None else 'damaged'}" in line]
        assert contents(folder) == before
        lines.clear()
        voxray.run(copied, on_status=lines.append)
        assert [line for line in lines if "finished earlier" in line]


def test_records_that_are_readable_are_not_called_damaged(copied: Experiment) -> None:
    folder = RunFolder(Path(copied.out))
    folder.begin("train")
    assert folder.stages.read_text().strip() == "{}"
    assert folder.damage("train") == ""
    for content in ("", "{", "[]"):
        folder.stages.write_text(content)
        assert folder.damage("train") == "stages.json cannot be read"


def test_a_run_of_which_everything_was_removed_but_its_store_is_trained_again(copied: Experiment) -> None:
    before = contents(Path(copied.out))
    shutil.rmtree(copied.out)
    with pytest.raises(NotReadyError, match="no run is here"):
        voxray.load_run(copied.out)
    voxray.run(copied)
    assert contents(Path(copied.out))["metrics.json"] == before["metrics.json"]


def test_a_damaged_checkpoint_is_named_and_training_begins_again(copied: Experiment) -> None:
    folder = RunFolder(Path(copied.out))
    before = folder.model.read_bytes()
    for name, damaged in (("last.safetensors", b""), ("best.safetensors", before), ("best.safetensors", None)):
        file = folder.checkpoints / name
        file.unlink() if damaged is None else file.write_bytes(damaged)
        folder.begin("train")
        lines: list[str] = []
        voxray.run(copied, on_status=lines.append)
        (line,) = [line for line in lines if "begins again with the first epoch" in line]
        assert name in line
        assert folder.model.read_bytes() == before


def test_a_model_of_another_kind_or_run_is_no_traceback(copied: Experiment, api_runs: ApiRuns) -> None:
    folder = RunFolder(Path(copied.out))
    shutil.copy(folder.checkpoints / "best.safetensors", folder.model)
    records = folder.stages.read_bytes()
    folder.stages.unlink()  # so that nothing tells what a stage wrote
    with pytest.raises(StoreError, match=r"model\.safetensors: its metadata is damaged: "):
        voxray.load_run(folder.path)
    folder.stages.write_bytes(records)
    shutil.copy(RunFolder(api_runs.classifier).model, folder.model)
    with pytest.raises(StoreError, match=r"model\.safetensors: differs from the file that \w+ wrote\. Run voxray"):
        voxray.load_run(folder.path)


def test_a_fold_that_is_trained_again_takes_the_joined_metrics_with_it(api_runs: ApiRuns, tmp_path: Path) -> None:
    shutil.copytree(api_runs.folds, tmp_path / "run", ignore=shutil.ignore_patterns("wandb"))
    joined = RunFolder(tmp_path / "run")
    fold = read_run_experiment(RunFolder(api_runs.folds / "fold_1"))
    content = fold.model_dump(mode="json")
    content["training"] |= {"learning_rate": 0.02}
    content |= {"out": str(tmp_path / "run" / "fold_1"), "store": content["store"] | {"path": str(fold.store_path)}}
    assert joined.finished("folds") is not None
    voxray.train(Experiment.model_validate(content))
    assert joined.finished("folds") is None
    assert not joined.metrics.exists()
    assert not joined.report.exists()
    assert joined.experiment.exists()


def test_a_run_on_a_disk_that_cannot_be_written_is_reused_up_to_its_report(
    copied: Experiment, monkeypatch: pytest.MonkeyPatch
) -> None:
    voxray.run(copied)

    def refuse(*args: object, **options: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    opened = Path.open

    def open_to_read(path: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        return opened(path, mode, *args, **options) if mode in ("r", "rb") else refuse()

    monkeypatch.setattr(Path, "open", open_to_read)
    for name in ("unlink", "rmdir", "replace"):
        monkeypatch.setattr(Path, name, refuse)
    lines: list[str] = []
    with pytest.raises(WorkError, match=r"report\.html: cannot be written: Read-only file system\. Check the disk"):
        voxray.run(copied, on_status=lines.append)
    reused = [line.partition(":")[0] for line in lines if line.endswith("reused")]
    assert reused == ["ingest", "train", "evaluate"]


def test_no_stage_begins_in_a_folder_of_others(copied: Experiment) -> None:
    folder = Path(copied.out)
    shutil.rmtree(folder)
    folder.mkdir()
    (folder / "report.html").write_text("mine")
    for stage in (voxray.run, voxray.ingest, voxray.train):
        with pytest.raises(StoreError, match=r"got one that holds 'report\.html'\. Give another folder"):
            stage(copied)
    assert [path.name for path in folder.iterdir()] == ["report.html"]
