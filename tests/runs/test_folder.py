import json
import re
from pathlib import Path

import pytest
from api_runs import ApiRuns
from s3_server import S3

from voxray.runs.folder import PredictionFolder, RunFolder, SearchFolder
from voxray.storage.atomic import write_json
from voxray.storage.paths import AnyPath

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
    assert record == {"key": "key", "seconds": 1.5, "files": ["metrics.json", "predictions/val/a_seg.nii.gz"]}
    (tmp_path / "predictions" / "val" / "a_seg.nii.gz").unlink()
    assert folder.finished("evaluate") is None


def test_a_run_in_object_storage_is_finished_by_the_same_rule(s3: S3) -> None:
    folder = finish(s3.new_folder())
    assert folder.finished("evaluate") is not None
    folder.metrics.unlink()
    assert folder.finished("evaluate") is None


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"evaluate": {"key": "key"}})])
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
