"""One scan of a run in full."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import SimpleITK
from reporting.scan_runs import make_scan_run

from voxray.reporting.run import scan_views
from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.page import render_page
from voxray.reporting.run.scan_views import classifier_views, displayed_scan

MakeRun = Callable[..., RunContents]
POINTS = {"detected": (5.0, 3.0, -10.0), "missed": (-8.0, 6.0, 4.0), "false positive": (0.0, -7.0, 11.0)}
SIZE, ORIGIN = (32, 24, 30), (-16.0, -12.0, -15.0)  # of the scan in x, y, z; LPS


@pytest.fixture
def run(make_run: MakeRun) -> RunContents:
    """A run whose first test scan has a detected, a missed and an invented nodule, and lies on the disk."""
    return place_findings(make_run(), list(POINTS))


def place_findings(run: RunContents, outcomes: list[str]) -> RunContents:
    """The run with a scan of `outcomes` in its test split, and all others without nodules."""
    test = run.predictions["test"]
    rows = test.rows.to_pylist()
    probabilities = np.tile([0.99, 0.01], (len(rows), 1))
    for row in rows:
        row["label"] = 0
    for number, outcome in enumerate(outcomes):
        row, point = rows[number], POINTS[outcome]
        row |= {"scan_id": rows[0]["scan_id"], "path": rows[0]["path"], "label": int(outcome != "false positive")}
        row |= dict(zip(("x_mm", "y_mm", "z_mm"), point, strict=True))
        probabilities[number] = [0.9, 0.1] if outcome == "missed" else [0.0, 1.0]
    predictions = replace(test, rows=pa.Table.from_pylist(rows, schema=test.rows.schema), probabilities=probabilities)
    write_scan(Path(run.experiment.data.root) / rows[0]["path"])
    metrics = {split: {**values, "threshold": 0.5} for split, values in run.metrics.items()}
    return replace(run, predictions={**run.predictions, "test": predictions}, metrics=metrics)


def write_scan(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = np.full(SIZE[::-1], -200, np.int16)
    voxels[0, 0, 0] = 400
    image = SimpleITK.GetImageFromArray(voxels)
    image.SetOrigin(ORIGIN)
    SimpleITK.WriteImage(image, str(path))


def test_the_scan_with_most_positives_is_displayed(run: RunContents) -> None:
    row = displayed_scan(run)
    assert row is not None
    assert row["scan_id"] == run.predictions["test"].rows["scan_id"][0].as_py()


def test_findings_are_marked_on_their_slices_by_outcome(run: RunContents) -> None:
    views = classifier_views(run)
    assert views is not None
    assert views.problem == ""
    assert (
        views.caption
        == "test split, candidates of the list at p ≥ 0.500: 2 nodules, 1 detected, 1 missed, 1 false positive"
    )
    assert list(views.outcomes) == ["detected", "missed", "false positive"]
    assert views.turning is not None
    sheet = views.sheet
    assert sheet is not None
    assert [tile.z for tile in sheet.tiles] == list(range(SIZE[2]))
    marks = {mark.outcome: mark for mark in views.marks}
    for outcome, (x_mm, y_mm, z_mm) in POINTS.items():
        # RAS millimeters, of an origin in LPS whose x and y run the other way.
        across, down = (-x_mm - ORIGIN[0] + 0.5) / SIZE[0], (-y_mm - ORIGIN[1] + 0.5) / SIZE[1]
        tile = sheet.tiles[round(z_mm - ORIGIN[2])]
        assert marks[outcome].x == pytest.approx(tile.left + across * sheet.tile_width)
        assert marks[outcome].y == pytest.approx(tile.top + down * sheet.tile_height)


def test_of_many_false_positives_the_surest_are_marked(run: RunContents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scan_views, "MOST_FALSE", 2)
    run = place_findings(run, ["detected", *["false positive"] * 4])
    probabilities = run.predictions["test"].probabilities
    probabilities[1:5, 1] = [0.6, 0.9, 0.7, 0.8]
    probabilities[1:5, 0] = 1 - probabilities[1:5, 1]
    rows = run.predictions["test"].rows.to_pylist()
    for number in range(1, 5):
        rows[number]["z_mm"] = float(number)
    table = pa.Table.from_pylist(rows, schema=run.predictions["test"].rows.schema)
    predictions = {**run.predictions, "test": replace(run.predictions["test"], rows=table)}
    views = classifier_views(replace(run, predictions=predictions))
    assert views is not None
    assert views.caption.endswith("4 false positives, of which the 2 with the highest probability are marked")
    assert views.sheet is not None
    tiles = {tile.z: tile for tile in views.sheet.tiles}
    marked = [mark.y for mark in views.marks if mark.outcome == "false positive"]
    expected = [views.sheet.position(tiles[round(z - ORIGIN[2])], 0, 4)[1] for z in (2, 4)]
    assert [round(y - tile) for y, tile in zip(marked, expected, strict=True)] == [round(marked[0] - expected[0])] * 2


def test_a_page_has_a_mark_of_another_shape_for_each_outcome(run: RunContents) -> None:
    html = render_page(run)
    section = html[html.index('<section id="scan">') : html.index('<section id="data">')]
    drawing = section[section.index('<figure class="sheet">') :]
    assert [len(re.findall(shape, drawing)) for shape in ("<circle", "<rect", "<path")] == [1, 1, 1]
    assert drawing.count("<text ") == SIZE[2]
    assert 'href="#scan"' in html
    assert "secret_place" not in html


def test_a_scan_that_is_lost_is_a_note(run: RunContents) -> None:
    (Path(run.experiment.data.root) / run.predictions["test"].rows["path"][0].as_py()).unlink()
    html = render_page(run)
    assert "No images: " in html
    assert "no such file" in html
    assert "secret_place" not in html


def test_scans_that_are_gone_or_have_changed_are_a_note(make_run: MakeRun, run: RunContents) -> None:
    assert "the folder of the scans no longer exists" in render_page(make_run())
    assert "No images: 3 scans have changed." in render_page(replace(run, scan_problem="3 scans have changed"))


def test_a_private_run_does_not_say_which_file_is_lost(run: RunContents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VOXRAY_TEST_KEY", "0123456789abcdef0123456789abcdef")
    content = run.experiment.model_dump(mode="json")
    private = {**content, "privacy": {"key_env": "VOXRAY_TEST_KEY"}}
    views = classifier_views(replace(run, experiment=type(run.experiment).model_validate(private)))
    assert views is not None
    assert views.problem == "its files are missing or have changed"


def test_pictures_have_no_scan_to_be_displayed(make_run: MakeRun) -> None:
    run = make_run(size=(8, 8, 1), suffix=".jpg")
    assert displayed_scan(run) is None
    assert classifier_views(run) is None


def test_the_median_case_of_a_segmentation_is_displayed_in_full(tmp_path: Path) -> None:
    run = make_scan_run(tmp_path, {"train": (0,), "val": (2, 0, 4, 1)})
    html = render_page(run)
    section = html[html.index('<section id="scan">') : html.index('<section id="data">')]
    assert "val_0" in section
    assert "median case, mean Dice" in section
    assert section.count("<text ") == 12
    assert section.count("data:image/webp;base64,") == 3
    assert "ground truth" in section
