import json
import os
import re
import shutil
from pathlib import Path

import pytest
from api_runs import ApiRuns
from s3_server import S3

from voxray.errors import StoreError, WorkError
from voxray.runs.folder import PredictionFolder, RunFolder, SearchFolder
from voxray.storage.atomic import write_json
from voxray.storage.paths import AnyPath, exists

MODULES = Path(__file__).parents[2] / "platform" / "voxray"


def finish(path: AnyPath) -> RunFolder:
    """A run whose evaluation wrote two files."""
    folder = RunFolder(path)
    files = [folder.metrics, PredictionFolder(folder.label_maps("val").path).label_map("a")]
    for file in files:
        write_json(file, {})
    folder.mark_finished("evaluate", "key", 1.5, files)
    return folder


def test_a_stage_is_finished_while_all_that_it_wrote_is_there(tmp_path: Path) -> None:
    folder = finish(tmp_path)
    record = folder.finished("evaluate")
    assert record is not None
    assert (record.key, record.seconds) == ("key", 1.5)
    assert list(record.files) == ["metrics.json", "predictions/val/a_seg.nii.gz"]
    assert folder.damage("evaluate") == folder.damage("train") == ""
    (tmp_path / "predictions" / "val" / "a_seg.nii.gz").unlink()
    assert folder.finished("evaluate") is None
    assert folder.damage("evaluate") == "predictions/val/a_seg.nii.gz is missing"
    folder.metrics.write_text("[]\n")
    assert folder.damage("evaluate") == "metrics.json is damaged (1 more files too)"


@pytest.mark.parametrize("content", ["", "{", "[]\n", '{"a": 1}'])
def test_a_file_that_is_not_what_a_stage_wrote_is_found_before_it_is_read(tmp_path: Path, content: str) -> None:
    folder = finish(tmp_path)
    folder.check(folder.metrics)
    folder.metrics.write_text(content)
    assert folder.finished("evaluate") is None
    with pytest.raises(StoreError, match=r"metrics\.json: differs from the file that evaluate wrote\. Run"):
        folder.check(folder.metrics)


def test_a_touched_or_copied_file_is_the_same(tmp_path: Path) -> None:
    folder = finish(tmp_path / "run")
    os.utime(folder.metrics, (1, 1))
    shutil.copytree(folder.path, tmp_path / "copy")
    assert folder.finished("evaluate") == RunFolder(tmp_path / "copy").finished("evaluate")
    assert folder.finished("evaluate") is not None


def test_a_later_stage_may_rewrite_a_file_of_an_earlier_one_at_any_moment_of_a_kill(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_json(folder.model, {})
    folder.mark_finished("train", "key", 1, [folder.model])
    folder.begin("evaluate", rewritten=[folder.model])
    assert folder.finished("train") is not None
    write_json(folder.model, {"threshold": 0.5})
    assert folder.finished("train") is not None
    folder.mark_finished("evaluate", "key", 1, [folder.model])
    assert folder.finished("train") is not None
    write_json(folder.model, {"threshold": 0.4})
    assert folder.finished("train") is None


def test_a_file_that_is_removed_while_its_stage_runs_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(WorkError, match=r"history\.parquet: was removed while train was running\. Re-run"):
        folder.mark_finished("train", "key", 1, [folder.history])


def test_leftovers_of_killed_processes_go_when_a_stage_takes_the_lock(tmp_path: Path) -> None:
    folders = [tmp_path, tmp_path / "checkpoints", tmp_path / "predictions" / "val"]
    for folder in folders:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".unfinished.elsewhere.1.0.x").write_bytes(b"half")
        os.utime(folder / ".unfinished.elsewhere.1.0.x", (0, 0))
    with RunFolder(tmp_path).locked():
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_run_in_object_storage_is_finished_by_the_same_rule(s3: S3) -> None:
    folder = finish(s3.new_folder())
    assert folder.finished("evaluate") is not None
    folder.metrics.unlink()
    assert folder.finished("evaluate") is None


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "[" * 100_000,
        *(json.dumps({"evaluate": record}) for record in (1, {"key": "key"}, {"key": 1, "seconds": "", "files": []})),
        json.dumps({"evaluate": {"key": "key", "seconds": 1, "files": {"metrics.json": 3}}}),
        json.dumps({"evaluate": {"key": "key", "seconds": 1, "files": {"metrics.json": "x"}}}),
    ],
)
def test_state_that_cannot_be_read_counts_as_absent(tmp_path: Path, text: str) -> None:
    folder = finish(tmp_path)
    folder.stages.write_text(text)
    assert folder.finished("evaluate") is None
    folder.mark_finished("train", "other", 0, [])
    assert folder.finished("train") is not None


def test_the_key_of_the_pseudonyms_is_drawn_once(tmp_path: Path) -> None:
    key = RunFolder(tmp_path).pseudonym_key()
    assert len(key) == 32
    assert RunFolder(tmp_path).pseudonym_key() == key


@pytest.mark.parametrize("content", [b"", b"half"])
def test_a_damaged_key_of_the_pseudonyms_is_drawn_again(tmp_path: Path, content: bytes) -> None:
    RunFolder(tmp_path).pseudonyms.write_bytes(content)
    key = RunFolder(tmp_path).pseudonym_key()
    assert len(key) == 32
    assert RunFolder(tmp_path).pseudonym_key() == key


def test_no_other_module_spells_the_name_of_a_runs_file() -> None:
    names = {path.name for path in (*values(RunFolder(Path("x"))), *values(SearchFolder(Path("x"))))}
    names -= {"checkpoints", "ray_tune"}
    spelled = re.compile("|".join(f'"{re.escape(name)}"' for name in names))
    sources = [path for path in MODULES.rglob("*.py") if path != MODULES / "runs" / "folder.py"]
    assert [str(path) for path in sources if spelled.search(path.read_text(encoding="utf-8"))] == []


def values(folder: RunFolder | SearchFolder) -> list[AnyPath]:
    return [value for name in dir(folder) if isinstance(value := getattr(folder, name), Path) and name != "path"]


@pytest.mark.parametrize("run", ["candidates", "classifier", "segmentation", "folds"])
def test_every_file_of_a_run_matches_a_pattern(api_runs: ApiRuns, run: str) -> None:
    folder: Path = getattr(api_runs, run)
    patterns = RunFolder.patterns()
    others = ("store", "wandb", "fold_")
    files = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    own = [file for file in files if not file.parts[0].startswith(others)]
    assert [str(file) for file in own if not any(map(file.match, patterns))] == []


def test_only_what_stages_write_is_removed_with_the_model(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    own = [folder.model, folder.history, folder.metrics, folder.report]
    for split in ("train", "val", "test"):
        own += [folder.predictions(split), folder.label_maps(split).label_map("a")]
    others = ("a.txt", "predictions/a_seg.nii.gz", "predictions/mine/notes.txt", "predictions/mine/b_seg.nii.gz")
    foreign = [tmp_path / name for name in (*others, "predictions/mine.parquet", "predictions/val/notes.txt")]
    for file in (*own, *foreign):
        write_json(file, {})
    folder.remove_results()
    assert sorted(path for path in tmp_path.rglob("*") if path.is_file()) == sorted(foreign)
    assert not folder.label_maps("test").path.exists()
    folder.remove_results()


def test_without_files_of_others_the_folder_of_predictions_goes_with_them(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_json(folder.predictions("test"), {})
    folder.remove_evaluation()
    assert list(tmp_path.iterdir()) == []


def test_results_in_object_storage_are_removed_by_the_same_rule(s3: S3) -> None:
    folder = finish(s3.new_folder())
    write_json(folder.path / "predictions" / "mine" / "notes.json", {})
    folder.remove_evaluation()
    assert not exists(folder.metrics)
    assert not exists(folder.label_maps("val").label_map("a"))
    assert exists(folder.path / "predictions" / "mine" / "notes.json")


@pytest.mark.parametrize(
    "name", ["report.html", "metrics.json", "model.safetensors", "architecture.json", "predictions/val.parquet"]
)
def test_a_folder_of_others_whose_files_a_run_would_overwrite_is_refused(tmp_path: Path, name: str) -> None:
    folder, given = RunFolder(tmp_path), tmp_path.parent / "architecture.json"
    write_json(tmp_path / "notes.json", {})
    folder.check_vacant(given)
    write_json(tmp_path / name, {})
    with pytest.raises(StoreError, match=f"expected an empty .* or that of a run, got one that holds '{name}'"):
        folder.check_vacant(given)
    folder.check_vacant(tmp_path / name) if name == "architecture.json" else None
    write_json(folder.status, {})
    folder.check_vacant(given)
