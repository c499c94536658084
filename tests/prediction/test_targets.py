import shutil
from pathlib import Path

import pytest
from api_runs import ApiRuns

from voxray.errors import ConfigError
from voxray.executors.local import LocalExecutor
from voxray.prediction.files import Options
from voxray.stages.predict import predict


def run_predict(
    run: Path, scans: list[Path], out: Path, *, probabilities: bool = False, overwrite: bool = False
) -> None:
    predict(run, scans, Options(out, probabilities, overwrite=overwrite), LocalExecutor(), lambda line: None)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "status.json"}


@pytest.mark.parametrize("suffix", ["_seg", "_prob"])
def test_a_mask_of_the_user_is_not_replaced_by_a_prediction(api_runs: ApiRuns, tmp_path: Path, suffix: str) -> None:
    scan, mask = tmp_path / "x.nii.gz", tmp_path / f"x{suffix}.nii.gz"
    shutil.copy(api_runs.brain, scan)
    for content in (api_runs.brain.read_bytes(), b"no NIfTI", b""):
        mask.write_bytes(content)
        with pytest.raises(ConfigError, match=rf"x{suffix}\.nii\.gz: exists and was not written by voxray"):
            run_predict(api_runs.segmentation, [scan], tmp_path, probabilities=True)
        assert contents(tmp_path) == {scan.name: api_runs.brain.read_bytes(), mask.name: content}


def test_a_segmentation_is_written_again_over_an_earlier_one(api_runs: ApiRuns, tmp_path: Path) -> None:
    scan = tmp_path / "x.nii.gz"
    shutil.copy(api_runs.brain, scan)
    (tmp_path / "x.json").write_text("{}")  # no segmentation writes it
    run_predict(api_runs.segmentation, [scan], tmp_path, probabilities=True)
    before = contents(tmp_path)
    assert before.keys() == {"x.nii.gz", "x.json", "x_seg.nii.gz", "x_seg.json", "x_prob.nii.gz"}
    run_predict(api_runs.segmentation, [scan], tmp_path, probabilities=True, overwrite=True)
    assert contents(tmp_path) == before
    with pytest.raises(ConfigError, match=r"x_seg\.nii\.gz: is to be read, and would be overwritten"):
        run_predict(api_runs.segmentation, [scan, tmp_path / "x_seg.nii.gz"], tmp_path)


@pytest.mark.parametrize("name", ["x.json", "x_saliency.png"])
def test_a_file_beside_a_scan_is_not_replaced_by_its_class(api_runs: ApiRuns, tmp_path: Path, name: str) -> None:
    scan, out = tmp_path / "x.nii.gz", tmp_path / "out"
    shutil.copy(api_runs.names["chest"], scan)
    run_predict(api_runs.classifier, [scan], out)
    run_predict(api_runs.classifier, [scan], out)
    (tmp_path / name).write_text('{"Modality": "CT"}')
    with pytest.raises(ConfigError, match=rf"{name}: exists and was not written by voxray predict"):
        run_predict(api_runs.classifier, [scan], tmp_path)
    assert contents(tmp_path / "out").keys() == {"x.json", "x_saliency.png"}
    assert (tmp_path / name).read_text() == '{"Modality": "CT"}'


@pytest.mark.parametrize("damage", [None, b"", b"{"])
@pytest.mark.parametrize("name", ["x.json", "x_saliency.png"])
def test_a_class_is_written_again_where_a_file_of_it_is_lost_or_damaged(
    api_runs: ApiRuns, tmp_path: Path, name: str, damage: bytes | None
) -> None:
    scan = tmp_path / "x.nii.gz"
    shutil.copy(api_runs.names["chest"], scan)
    run_predict(api_runs.classifier, [scan], tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "out" / name).unlink()
    if damage is not None:
        (tmp_path / "out" / name).write_bytes(damage)
    run_predict(api_runs.classifier, [scan], tmp_path / "out", overwrite=True)
    assert contents(tmp_path / "out") == before
