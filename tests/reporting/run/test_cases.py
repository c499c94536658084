"""Which scans are displayed, and how."""

import io
import re
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from reporting.scan_runs import make_scan_run

from voxray.reporting.run.cases import choose_cases, draw_cases, ranked_cases
from voxray.reporting.run.contents import Case, RunContents


def rows(*dice: float) -> list[Case]:
    return [{"scan_id": f"s{number}", "dice": value} for number, value in enumerate(dice)]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunContents:
    return make_scan_run(tmp_path_factory.mktemp("scans"), {"train": (0,), "val": (2, 0, 4, 1)})


def numbers(path: str) -> np.ndarray:
    return np.array([[float(part) for part in pair.split(",")] for pair in re.findall(r"[-\d.]+,[-\d.]+", path)])


@pytest.mark.parametrize(
    ("dice", "titles", "scan_ids"),
    [
        ((0.5, 0.9, 0.1, 0.7, 0.8), ["Best case", "Median case", "Worst case"], ["s1", "s3", "s2"]),
        ((0.5, float("nan"), 0.9), ["Best case", "Worst case"], ["s2", "s0"]),
        ((float("nan"), 0.4), ["Only case"], ["s1"]),
        ((float("nan"),), [], []),
    ],
)
def test_best_median_and_worst_are_chosen_by_mean_dice(
    dice: tuple[float, ...], titles: list[str], scan_ids: list[str]
) -> None:
    chosen = choose_cases(rows(*dice))
    assert [title for title, _ in chosen] == titles
    assert [case["scan_id"] for _, case in chosen] == scan_ids


def test_equal_cases_are_ranked_by_name() -> None:
    assert [case["scan_id"] for case in ranked_cases(rows(0.5, 0.2, 0.2))] == ["s1", "s2", "s0"]


def test_the_worst_displayed_case_is_off_by_as_much_as_its_prediction(run: RunContents) -> None:
    worst = draw_cases(run, "val")[-1]
    assert (worst.title, worst.row["scan_id"]) == ("Worst case", "val_2")
    assert worst.pictures is not None
    for plane in worst.pictures.planes[:2]:
        truth, prediction = (
            next(numbers(line.path) for line in plane.outlines if line.is_truth == kind) for kind in (True, False)
        )
        # The file's x runs to the left and so does the picture's right: what is off to the left is off to the right.
        assert prediction[:, 0].min() - truth[:, 0].min() == 4
        assert prediction[:, 1].min() == truth[:, 1].min()


def test_a_perfect_prediction_has_the_truths_outline_whatever_the_files_axes(run: RunContents) -> None:
    best = draw_cases(run, "val")[0]
    assert best.pictures is not None
    for plane in best.pictures.planes:
        truth = [line.path for line in plane.outlines if line.is_truth]
        assert truth
        assert truth == [line.path for line in plane.outlines if not line.is_truth]


def test_planes_are_true_to_the_spacing_and_lie_on_the_bright_block(run: RunContents) -> None:
    best = draw_cases(run, "val")[0]
    assert best.pictures is not None
    sizes = [(plane.width_mm, plane.height_mm) for plane in best.pictures.planes]
    assert sizes == [(20, 24), (20, 30), (24, 30)]
    coronal = best.pictures.planes[1]
    gray = np.asarray(Image.open(io.BytesIO(b64decode(coronal.uri.split(",")[1]))))
    (outline,) = (numbers(line.path) / (1.0, 2.5) for line in coronal.outlines if line.is_truth)
    (left, top), (right, bottom) = (np.round(end).astype(int) for end in (outline.min(axis=0), outline.max(axis=0)))
    inside = gray[top:bottom, left:right]
    assert inside.min() > np.delete(gray, range(top, bottom), axis=0).max()


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("scans/imagesTr/val_2.nii.gz", "no such file"),
        ("scans/labelsTr/val_2.nii.gz", "no such file"),
        ("run/predictions/val/val_2_seg.nii.gz", "no such file"),
    ],
)
def test_a_scan_without_its_files_says_so_and_the_others_are_displayed(tmp_path: Path, file: str, message: str) -> None:
    run = make_scan_run(tmp_path, {"val": (2, 0, 4, 1)})
    (tmp_path / file).unlink()
    best, median, worst = draw_cases(run, "val")
    assert best.pictures is not None
    assert median.pictures is not None
    assert worst.pictures is None
    assert message in worst.problem


def test_a_run_without_label_maps_says_how_to_get_them(run: RunContents) -> None:
    cases = {"val": [{key: row[key] for key in row if key != "prediction"} for row in run.cases["val"]]}
    assert all("voxray evaluate" in case.problem for case in draw_cases(replace(run, cases=cases), "val"))
