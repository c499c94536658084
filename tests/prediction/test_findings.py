import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch
from chests import chest
from dicom_scenes import ORIGIN, STEP_MM, slices, write_series
from PIL import Image
from scenes import SMALL_NET, experiment, write_luna, write_metaimage

from voxray.config.experiment import Experiment
from voxray.datasets import csv_lists
from voxray.errors import ConfigError, DataError, WorkError
from voxray.executors.local import LocalExecutor
from voxray.executors.ray.executor import RayExecutor
from voxray.inference.detector import Detector
from voxray.inference.load import load_trained
from voxray.prediction.candidates import other_coordinates
from voxray.prediction.files import Options
from voxray.scans.read import open_file
from voxray.stages.ingest import ingest
from voxray.stages.predict import predict
from voxray.stages.score import ScoreInputs, score
from voxray.stages.train import train
from voxray.training.fit import make_preprocessing
from voxray.training.loop import choose_device
from voxray.volume import Volume

NODULES = [((40.0, 5.0, 10.0), 6.0), ((-50.0, -10.0, -20.0), 9.0)]
COLUMNS = ["seriesuid", "coordX", "coordY", "coordZ", "probability", "diameter_mm"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run trained on candidates."""
    folder = tmp_path_factory.mktemp("trained")
    write_luna(folder / "scans", 6, bright=900)
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(folder / "scans", folder / "run", detection={"max_proposals": 40})
    for stage in (ingest, train):
        stage(spec, LocalExecutor(), lambda line: None)
    return spec


@pytest.fixture(scope="module")
def scan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scan(tmp_path_factory.mktemp("chest") / "chest.nii.gz", chest(NODULES, (1.5, 1.5, 2.0)))


def write_scan(path: Path, volume: Volume) -> Path:
    nibabel.save(nibabel.Nifti1Image(volume.array[0], volume.affine), path)
    return path


def answer(spec: Experiment, scan: Path, out: Path, candidates: Path | None = None) -> list[str]:
    lines: list[str] = []
    predict(spec.out_path, [scan], Options(out, candidates=candidates), LocalExecutor(), lines.append)
    return lines


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as lines:
        return list(csv.DictReader(lines))


def test_findings_are_written_in_millimeters_of_lps_with_pictures_and_a_page(
    trained: Experiment, scan: Path, tmp_path: Path
) -> None:
    (line,) = answer(trained, scan, tmp_path)
    table = rows_of(tmp_path / "chest_findings.csv")
    content = json.loads((tmp_path / "chest_findings.json").read_text())["findings"]
    assert list(table[0]) == COLUMNS
    assert len(table) == len(content) >= 2
    probabilities = [float(row["probability"]) for row in table]
    assert probabilities == sorted(probabilities, reverse=True)
    ras = np.array([[-float(row["coordX"]), -float(row["coordY"]), float(row["coordZ"])] for row in table])
    for center, diameter in NODULES:
        nearest = int(np.linalg.norm(ras - center, axis=1).argmin())
        assert np.linalg.norm(ras[nearest] - center) < diameter / 2
        assert content[nearest]["side"] == ("right" if center[0] > 0 else "left")
        assert abs(content[nearest]["slice"] - (center[2] + 59) / 2) <= diameter / 4
    for number in range(1, min(10, len(table)) + 1):
        with Image.open(tmp_path / f"chest_finding_{number}.png") as picture:
            assert picture.width == 3 * picture.height
    page = (tmp_path / "chest_findings.html").read_text()
    assert page.count('<figure id="slice-') == 60
    assert "1. " in line
    assert "slice" in line


def test_the_probability_is_the_mean_of_the_quarter_turns_of_the_patch_at_the_point(
    trained: Experiment, scan: Path, tmp_path: Path
) -> None:
    run = load_trained(trained.out_path, choose_device("cpu"))
    volume = open_file(scan)
    detector = Detector([run])
    candidates = detector.propose(volume)
    size = np.array(trained.patches.size)
    index = np.floor((candidates.centers_mm - volume.affine[:3, 3]) / volume.spacing_mm + 0.5).astype(int)
    voxels = np.asarray(volume.array[0], np.float32)
    expected = []
    for start in index - size // 2:
        start[2] = np.clip(start[2], 0, voxels.shape[2] - size[2])
        padded = np.pad(voxels, 20, constant_values=-1000)
        x, y, z = start + 20
        patch = padded[x : x + size[0], y : y + size[1], z : z + size[2]]
        scaled = np.clip((patch + 1000) / 1400, 0, 1)
        turns = [torch.from_numpy(np.rot90(scaled, turn).copy())[None, None] for turn in range(4)]
        with torch.no_grad():
            expected.append(np.mean([run.model(turn).double().softmax(1)[0, 1].item() for turn in turns]))
    np.testing.assert_allclose(detector.score(volume, candidates), expected, atol=1e-6)


def test_only_the_points_of_a_list_are_judged(trained: Experiment, scan: Path, tmp_path: Path) -> None:
    candidates = tmp_path / "list.csv"
    candidates.write_text(
        "seriesuid,coordX,coordY,coordZ\nchest,-40,-5,10\nother,0,0,0\nchest,50,10,-20\nchest,900,0,0\n"
    )
    note, line = answer(trained, scan, tmp_path / "found", candidates)
    assert note == "note: 1 series of list.csv are none of these scans: other"
    table = rows_of(tmp_path / "found" / "chest_findings.csv")
    assert {(row["coordX"], row["coordY"]) for row in table} == {("-40.0", "-5.0"), ("50.0", "10.0"), ("900.0", "0.0")}
    assert table[-1]["probability"] == ""
    assert "3 candidates of list.csv, 1 outside the scan, 2 findings" in line
    content = json.loads((tmp_path / "found" / "chest_findings.json").read_text())["findings"]
    assert [(row["side"], row["slice"] is None) for row in content[2:]] == [(None, True)]
    assert {row["side"] for row in content[:2]} == {"left", "right"}
    (tmp_path / "truth.csv").write_text("seriesuid,coordX,coordY,coordZ,diameter_mm\nchest,50,10,-20,9\n")
    result, notes = score(ScoreInputs([tmp_path / "found" / "chest_findings.csv"], tmp_path / "truth.csv"))
    assert (result.candidates, result.matches.found.all()) == (2, True)
    assert "1 candidate without a probability: skipped" in notes


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("seriesuid,coordX,coordY,coordZ\nother,0,0,0\n", "no candidate of the scan 'chest'; its series are other"),
        ("seriesuid,coordX,coordY\nchest,0,0\n", "coordZ"),
        ("seriesuid,coordX,coordY,coordZ\nchest,0,,0\n", "a coordinate of 'chest' is no number"),
    ],
)
def test_a_list_that_names_no_point_of_the_scans_is_an_error_before_any_work(
    trained: Experiment, scan: Path, tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "list.csv").write_text(content)
    with pytest.raises(DataError, match=problem):
        answer(trained, scan, tmp_path / "found", tmp_path / "list.csv")
    assert not list(tmp_path.glob("found/*"))


def test_scans_and_series_that_the_other_side_lacks_are_noted_once(
    trained: Experiment, scan: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scans = [scan, *(tmp_path / f"{name}.nii.gz" for name in "ab")]
    for copy in scans[1:]:
        shutil.copy(scan, copy)
    points = ["chest,-40,-5,10", "chest,-40,-5,10", *(f"other{number},0,0,0" for number in range(5))]
    (tmp_path / "list.csv").write_text("\n".join(["seriesuid,coordX,coordY,coordZ", *points]))
    reads: list[str] = []
    monkeypatch.setattr(csv_lists, "_read_text", lambda path: reads.append(path.name) or path.read_text())
    options = Options(tmp_path / "found", candidates=tmp_path / "list.csv")
    lines: list[str] = []
    predict(trained.out_path, scans, options, LocalExecutor(), lines.append)
    assert reads == ["list.csv"]
    assert [line for line in lines if line.startswith("note")] == [
        "note: list.csv names no point of 2 of 3 scans: a, b",
        "note: 5 series of list.csv are none of these scans: other0, other1, other2 …",
        "note: 1 rows of list.csv repeat a point: each is classified",
    ]
    assert len(rows_of(tmp_path / "found" / "chest_findings.csv")) == 2
    assert rows_of(tmp_path / "found" / "a_findings.csv") == []


def test_an_empty_list_leaves_scans_without_findings(trained: Experiment, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("seriesuid,coordX,coordY,coordZ\n")
    note, line = answer(trained, scan, tmp_path / "found", tmp_path / "list.csv")
    assert note == "note: list.csv names no point of 1 of 1 scans: chest"
    assert "0 candidates of list.csv, 0 findings" in line
    assert rows_of(tmp_path / "found" / "chest_findings.csv") == []


@pytest.mark.parametrize(
    ("rows", "reading"),
    [
        (["300,200,90", "250,180,80"], ""),
        (["100,20,40", "110,90,30"], " As voxel indices 2 lie inside."),
    ],
)
def test_a_list_in_other_coordinates_is_noticed(
    trained: Experiment, scan: Path, tmp_path: Path, rows: list[str], reading: str
) -> None:
    (tmp_path / "list.csv").write_text("\n".join(["seriesuid,coordX,coordY,coordZ", *(f"chest,{row}" for row in rows)]))
    (line,) = answer(trained, scan, tmp_path / "found", tmp_path / "list.csv")
    assert f"2 outside the scan (are they world millimeters, LPS?{reading})" in line


def test_a_list_in_ras_is_noticed_where_the_scan_is_not_around_the_origin() -> None:
    volume = chest()
    moved = volume.affine.copy()
    moved[:2, 3] += 300
    points = np.array([[300.0, 310.0, 0.0], [280.0, 290.0, 10.0]]) * (-1, -1, 1)
    assert other_coordinates(Volume(volume.array, moved), points) == " As RAS 2 lie inside."


def test_a_dicom_folder_has_the_findings_of_the_metaimage_of_the_same_scan(trained: Experiment, tmp_path: Path) -> None:
    voxels = chest(NODULES, (1.5, 1.5, STEP_MM)).array[0]
    stored = np.ascontiguousarray((voxels + 1024).transpose(2, 1, 0)).astype(np.uint16)
    write_series(tmp_path / "series", slices(stored, PixelSpacing=[1.5, 1.5]))
    write_metaimage(tmp_path / "same.mhd", voxels, spacing=(1.5, 1.5, STEP_MM), origin=ORIGIN)
    for scan in (tmp_path / "series", tmp_path / "same.mhd"):
        answer(trained, scan, tmp_path / "found")
    series, same = (rows_of(tmp_path / "found" / f"{name}_findings.csv") for name in ("series", "same"))
    assert len(series) > 1
    assert [{**row, "seriesuid": ""} for row in series] == [{**row, "seriesuid": ""} for row in same]


def test_a_scan_cut_to_34_slices_is_searched(trained: Experiment, tmp_path: Path) -> None:
    volume = chest(NODULES, (1.5, 1.5, 1.0))
    affine = volume.affine.copy()
    affine[2, 3] += 53
    scan = write_scan(tmp_path / "cut.nii.gz", Volume(volume.array[..., 53:87], affine))
    answer(trained, scan, tmp_path / "found")
    table = rows_of(tmp_path / "found" / "cut_findings.csv")
    ras = np.array([[-float(row["coordX"]), -float(row["coordY"]), float(row["coordZ"])] for row in table])
    assert np.linalg.norm(ras - NODULES[0][0], axis=1).min() < 3


@pytest.mark.usefixtures("ray_here")
def test_findings_are_the_same_with_and_without_ray(trained: Experiment, scan: Path, tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("seriesuid,coordX,coordY,coordZ\nchest,-40,-5,10\nchest,50,10,-20\n")
    one, other = tmp_path / "one", tmp_path / "other"
    for executor, out in ((LocalExecutor(), one), (RayExecutor(), other)):
        options = Options(out, candidates=tmp_path / "list.csv")
        predict(trained.out_path, [scan], options, executor, lambda line: None)
    tables = rows_of(one / "chest_findings.csv"), rows_of(other / "chest_findings.csv")
    assert len(tables[0]) == 2
    for row, same in zip(*tables, strict=True):
        assert float(row["probability"]) == pytest.approx(float(same["probability"]), abs=1e-5)
        assert [row[key] for key in COLUMNS[:4]] == [same[key] for key in COLUMNS[:4]]
    assert {file.name for file in one.iterdir()} == {file.name for file in other.iterdir()}


def test_a_scan_without_lungs_has_no_findings_and_a_note(trained: Experiment, tmp_path: Path) -> None:
    head = write_scan(tmp_path / "head.nii.gz", chest(lungs=False))
    (line,) = answer(trained, head, tmp_path / "found")
    assert "no lungs were found" in line
    assert rows_of(tmp_path / "found" / "head_findings.csv") == []
    assert "No findings." in (tmp_path / "found" / "head_findings.html").read_text()


def test_a_scan_that_cannot_be_searched_is_no_scan_without_findings(trained: Experiment, tmp_path: Path) -> None:
    volume = chest(NODULES)
    voxels = volume.array.astype(np.float32)
    voxels[0, 40, 30, 20] = np.nan
    scan = write_scan(tmp_path / "broken.nii.gz", Volume(voxels, volume.affine))
    lines: list[str] = []
    with pytest.raises(WorkError):
        predict(trained.out_path, [scan], Options(tmp_path / "found"), LocalExecutor(), lines.append)
    assert "finite" in lines[0]
    assert not list((tmp_path / "found").glob("broken*"))


def test_a_prediction_replaces_its_own_findings_and_no_file_of_the_user(
    trained: Experiment, scan: Path, tmp_path: Path
) -> None:
    answer(trained, scan, tmp_path)
    answer(trained, scan, tmp_path)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "chest_findings.csv").write_text("mine")
    with pytest.raises(ConfigError, match="not written by voxray"):
        answer(trained, scan, tmp_path / "other")


def test_a_list_that_is_missing_is_found_out_before_any_work(trained: Experiment, scan: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such file"):
        answer(trained, scan, tmp_path / "found", tmp_path / "list.csv")
    assert not (tmp_path / "found").exists()


def test_a_run_trained_on_gray_pictures_sees_the_scan_through_their_window(trained: Experiment, scan: Path) -> None:
    run = load_trained(trained.out_path, choose_device("cpu"))
    volume = open_file(scan)
    windowed = trained.model_copy(
        update={
            "data": trained.data.model_copy(update={"picture_window": (-1000.0, 400.0)}),
            "intensity": trained.intensity.model_copy(update={"window": (0.0, 255.0)}),
        }
    )
    gray = replace(run, experiment=windowed, preprocessing=make_preprocessing(windowed, 3, run.device))
    candidates = Detector([run]).propose(volume)
    difference = Detector([gray]).score(volume, candidates) - Detector([run]).score(volume, candidates)
    assert np.abs(difference).max() < 0.01  # 1400 HU in 255 gray levels
