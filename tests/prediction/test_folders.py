import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from api_runs import ApiRuns

from voxray.errors import ConfigError, DataError
from voxray.executors.local import LocalExecutor
from voxray.prediction.files import Options
from voxray.prediction.scans import find_scans
from voxray.stages.predict import predict

SCANS = ("a/x.nii.gz", "b/x.nii.gz", "y.nii.gz")


@pytest.fixture
def folder(api_runs: ApiRuns, tmp_path: Path) -> Path:
    chest = Path(api_runs.names["chest"])
    for number, name in enumerate(SCANS):
        (tmp_path / "scans" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(chest.with_name(f"s{number}.nii.gz"), tmp_path / "scans" / name)
    (tmp_path / "scans" / "._x.nii.gz").write_bytes(b"of macOS")
    return tmp_path / "scans"


def run_predict(run: Path, given: list[Path], options: Options) -> list[str]:
    said: list[str] = []
    predict(run, given, options, LocalExecutor(), said.append)
    return said


def states(folder: Path) -> dict[str, tuple[int, bytes]]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "status.json"]
    return {path.relative_to(folder).as_posix(): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_all_scans_below_a_folder_are_predicted_and_their_results_keep_its_subfolders(
    api_runs: ApiRuns, folder: Path
) -> None:
    out = folder / "out"
    run_predict(api_runs.classifier, [folder], Options(out))
    assert states(out).keys() == {
        *("a/x.json", "a/x_saliency.png", "b/x.json", "b/x_saliency.png", "y.json", "y_saliency.png")
    }
    run_predict(api_runs.classifier, [folder / SCANS[0]], Options(folder.parent / "alone"))
    assert json.loads((out / "a/x.json").read_text()) == json.loads((folder.parent / "alone/x.json").read_text())
    with pytest.raises(DataError, match=r"b/x\.nii\.gz would be written to the same file as .*a/x\.nii\.gz.*folder ab"):
        run_predict(api_runs.classifier, [folder / name for name in SCANS], Options(out))
    with pytest.raises(DataError, match="predictions would be written to it"):
        run_predict(api_runs.classifier, [folder], Options(folder))
    (folder.parent / "empty").mkdir()
    with pytest.raises(DataError, match="holds no scan"):
        run_predict(api_runs.classifier, [folder.parent / "empty"], Options(out))


def test_what_is_predicted_already_is_kept_and_nothing_else(api_runs: ApiRuns, folder: Path) -> None:
    options = Options(folder.parent / "out")
    run_predict(api_runs.classifier, [folder], options)
    before = states(options.out)
    said = run_predict(api_runs.classifier, [folder], options)
    assert said == ["predict: 3 of 3 scans are kept: predicted before by this run with these settings"]
    assert states(options.out) == before
    # A missing file is made again, as is a scan whose prediction was interrupted.
    (options.out / "a/x_saliency.png").unlink()
    record = json.loads(before["y.json"][1])
    kept = {key: record[key] for key in ("scan", "members", "tta", "key")}
    (options.out / "y.json").write_text(json.dumps(kept))
    said = run_predict(api_runs.classifier, [folder], options)
    assert [line.split(": ")[1] for line in said] == ["1 of 3 scans are kept", "x.nii.gz", "y.nii.gz"]
    after = states(options.out)
    assert {name: content for name, (_, content) in after.items()} == {
        name: content for name, (_, content) in before.items()
    }
    assert after["b/x.json"] == before["b/x.json"]


@pytest.mark.parametrize("change", ["scan", "run", "settings", "file", "record"])
def test_predictions_of_something_else_are_neither_kept_nor_replaced_without_a_word(
    api_runs: ApiRuns, folder: Path, change: str
) -> None:
    run, options, out = api_runs.classifier, Options(folder.parent / "out"), folder.parent / "out"
    scan = folder / "y.nii.gz"
    run_predict(run, [scan], options)
    before, problem = states(out), "is of another run, other settings or another scan"
    if change == "scan":
        image = nibabel.load(scan)
        nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj) + np.int16(1), image.affine), scan)
    elif change == "run":
        run = Path(shutil.copytree(run, folder.parent / "run"))
        content = json.loads((run / "experiment.json").read_text())
        content["evaluation"]["target_recall"] = 0.5
        (run / "experiment.json").write_text(json.dumps(content))
        (run / "stages.json").unlink()
    elif change == "settings":
        options = replace(options, tta=True)
    elif change == "file":
        shutil.copy(out / "y_saliency.png", out / "other.png")
        (out / "y_saliency.png").write_bytes((out / "other.png").read_bytes() + b" ")
        (out / "other.png").unlink()
        before, problem = states(out), "was changed since it was written"
    else:
        (out / "y.json").unlink()
        before, problem = states(out), "no record says which run and scan it is of"
    with pytest.raises(ConfigError, match=rf"y.*: {problem}\. .*--overwrite"):
        run_predict(run, [scan], options)
    assert states(out) == before
    run_predict(run, [scan], replace(options, overwrite=True))
    assert "kept" in run_predict(run, [scan], options)[-1]


def test_files_of_channels_are_one_scan_and_pictures_beside_scans_are_none(folder: Path) -> None:
    for name in ("c/z_0000.nii.gz", "c/z_0001.nii.gz", "c/w_0000.nii.gz", "c/view.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"")
    scans, notes = find_scans([folder], folder / "out", 2)
    assert [scan.name for scan in scans] == ["a/x", "b/x", "c/w_0000", "c/z", "y"]
    assert str(scans[3].path).endswith("c/z_{0000,0001}.nii.gz")
    assert notes == [f"{folder}: 1 pictures beside scans are left out, such as view.png"]
    scans, _ = find_scans([folder, folder / "y.nii.gz"], folder / "out", 1)
    assert [scan.name for scan in scans] == ["a/x", "b/x", "c/w_0000", "c/z_0000", "c/z_0001", "y"]
