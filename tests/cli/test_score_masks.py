"""`voxray score PRED TRUTH`: masks of any program."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from voxray.cli.app import main
from voxray.metrics import dice, hd95_mm
from voxray.scans.write import write_nifti
from voxray.volume import Volume

AFFINE = np.diag([1.0, 1.5, 2.0, 1.0])


def voxray(*words: object) -> int:
    try:
        main([str(word) for word in words])
    except SystemExit as end:
        return int(end.code or 0)
    return 0


def write(path: Path, labels: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(path, Volume(labels[None], affine))


def case(shift: int = 0) -> np.ndarray:
    labels = np.zeros((16, 14, 8), np.uint8)
    labels[3:9, 3:9, 2:6], labels[11:14, 10:12, 3:5] = 1, 2
    return np.roll(labels, shift, 0)


@pytest.fixture
def masks(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions and truth of three cases with differing names, and one more on each side."""
    prediction, truth = tmp_path / "prediction", tmp_path / "truth"
    for number in range(3):
        write(truth / "a" / f"case_{number}_seg.nii.gz", case())
        write(prediction / "a" / f"Case_{number}.nii.gz", case(number))
    write(truth / "b" / "lost-label.nii.gz", case())
    write(prediction / "new.nii.gz", case())
    return prediction, truth


def test_masks_are_paired_by_name_and_scored_for_each_case_and_class(
    masks: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scores"
    assert voxray("score", *masks, "--classes", "organ=1,tumor=2", "--out", out) == 0
    printed = capsys.readouterr().out
    assert "3 cases" in printed
    assert "1 masks of the truth have no prediction and do not count: b/lost-label.nii.gz" in printed
    assert "1 predictions have no truth and do not count: new.nii.gz" in printed
    rows = list(csv.DictReader((out / "cases.csv").read_text().splitlines()))
    assert [(row["case"], row["class"], row["label"]) for row in rows[:2]] == [
        ("a/case_0", "organ", "1"),
        ("a/case_0", "tumor", "2"),
    ]
    spacing = (1.0, 1.5, 2.0)
    for row in rows:
        shift, label = int(row["case"][-1]), int(row["label"])
        pair = case() == label, case(shift) == label
        assert float(row["dice"]) == pytest.approx(dice(*pair))
        assert float(row["hd95_mm"]) == pytest.approx(hd95_mm(*pair, spacing))
    content = json.loads((out / "scores.json").read_text())
    for name in ("organ", "tumor"):
        values = [float(row["dice"]) for row in rows if row["class"] == name]
        assert content[f"dice/{name}"] == pytest.approx(np.mean(values))
    assert content["dice"] == pytest.approx(np.mean([content["dice/organ"], content["dice/tumor"]]))
    assert content["lesion_recall/tumor"] == 1
    page = (out / "scores.html").read_text()
    assert page.index("<h3>a/case_2</h3>") < page.index("<h3>a/case_0</h3>")
    assert str(tmp_path) not in page


def test_empty_masks_and_masks_of_0_and_255_are_noted_with_their_names(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    both, none = (case() == 1).astype(np.uint8), np.zeros((16, 14, 8), np.uint8)
    for name, true, predicted in (("full", both, both), ("absent", none, none), ("missed", both, none)):
        write(tmp_path / "truth" / f"{name}.nii.gz", true)
        write(tmp_path / "prediction" / f"{name}.nii.gz", predicted * 255)
    assert voxray("score", tmp_path / "prediction", tmp_path / "truth", "--json") == 0
    out, notes = capsys.readouterr()
    content = json.loads(out)
    assert content["classes"] == {"1": 1}
    assert content["dice/1"] == 0.5
    assert content["cases"]["absent"]["dice/1"] is None
    assert content["cases"]["missed"]["dice/1"] == 0
    assert "1 masks hold only 0 and 255, read as 0 and 1" in notes
    assert "1 cases have no label in truth and prediction, Dice is undefined: absent" in notes
    assert "1 cases have no label in prediction, Dice is 0: missed" in notes


def test_two_files_are_a_pair_and_a_label_on_one_side_is_noted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(tmp_path / "mine.nii.gz", np.where(case() == 2, 7, case()).astype(np.uint8))
    write(tmp_path / "theirs.nii.gz", case())
    assert voxray("score", tmp_path / "mine.nii.gz", tmp_path / "theirs.nii.gz") == 0
    printed = capsys.readouterr().out
    assert "label 2 is in no prediction, and in the truth of theirs" in printed
    assert "label 7 is in no truth, and in the prediction of theirs" in printed


def test_all_grids_that_differ_are_named_at_once(masks: tuple[Path, Path], capsys: pytest.CaptureFixture[str]) -> None:
    prediction, truth = masks
    write(prediction / "a" / "Case_0.nii.gz", case()[:-1])
    write(prediction / "a" / "Case_1.nii.gz", case(), AFFINE @ np.diag([1, 1, 1.5, 1]))
    assert voxray("score", prediction, truth) == 2
    message = capsys.readouterr().err
    for number in (0, 1):
        assert str(truth / "a" / f"case_{number}_seg.nii.gz") in message
        assert str(prediction / "a" / f"Case_{number}.nii.gz") in message
    assert "case_2" not in message


def test_values_that_are_no_labels_are_named_at_once(
    masks: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    prediction, truth = masks
    write(prediction / "a" / "Case_0.nii.gz", case().astype(np.float32) + np.float32(0.25))
    write(prediction / "a" / "Case_1.nii.gz", case().astype(np.int16) - 1)
    assert voxray("score", prediction, truth) == 2
    message = capsys.readouterr().err
    assert "Case_0.nii.gz: expected whole numbers as labels, got 0.25" in message
    assert "Case_1.nii.gz: expected labels from 0 to 65535, got -1 to 1" in message


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("one",), "expected two folders or files of masks, got one"),
        (("a.csv", "b.csv"), "Give PRED TRUTH, or lists of candidates with --truth"),
        (("a", "b", "--marks", "3"), "--marks: scores candidates and needs --truth"),
        (("a.csv", "--truth", "t.csv", "--out", "o"), "--out: scores masks, which take no --truth"),
        (("a", "b", "--classes", "liver=x"), "expected name=id, got liver='x'"),
        (("a", "b", "--classes", "liver=1,tumor=1"), "label 1 is named liver and tumor"),
        (("nowhere", "neither"), "nowhere, neither: expected a folder or a file of masks, found none"),
    ],
)
def test_a_wrong_call_says_what_is_expected(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert voxray("score", *words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "labels", [{"background": 0, "liver": 1, "tumor": 2}, {"0": "back", "1": "liver", "2": "tumor"}]
)
def test_names_of_labels_come_from_a_dataset_of_nnunet_or_the_decathlon(
    labels: dict[str, object], masks: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert voxray("score", *masks, "--json", "--classes", tmp_path / "dataset.json") == 0
    assert json.loads(capsys.readouterr().out)["classes"] == {"liver": 1, "tumor": 2}
