import base64
import io
import json
import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from inspection_scenes import DEFECTS, image_of, write_cases, write_defects, write_nifti
from PIL import Image
from scenes import write_luna

from voxray.inspection.issues import ISSUES
from voxray.inspection.kinds import KINDS
from voxray.inspection.scan_stats import SCAN_STATS, inspect_scans
from voxray.inspection.summary import Inspection, finish_inspection, summarize
from voxray.inspection.target import read_target
from voxray.reporting.charts.scan_histograms import histogram_edges
from voxray.reporting.inspection.montage import choose_evenly, choose_flagged, draw_tiles, slice_plane
from voxray.reporting.inspection.page import render_inspection, write_inspection
from voxray.volume import Volume


def inspection_of(root: Path, voxels: bool = True) -> Inspection:
    target = read_target(root)
    return finish_inspection(target, inspect_scans(root, target.targets, target.labels, voxels), voxels)


def page_of(inspection: Inspection) -> str:
    return render_inspection(inspection, summarize(inspection))


@pytest.fixture(scope="module")
def defects(tmp_path_factory: pytest.TempPathFactory) -> Inspection:
    root = tmp_path_factory.mktemp("secret_place") / "scans"
    write_defects(root)
    return inspection_of(root)


def test_the_page_names_every_issue_and_is_self_contained(defects: Inspection) -> None:
    page = page_of(defects)
    for kind, name in DEFECTS.items():
        assert KINDS[kind].title in page
        assert name is None or name in page
    assert "10 errors to fix before training, 8 warnings to review" in page
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "secret_place" not in page
    assert page == page_of(defects)


def test_json_and_parquet_hold_every_row_and_the_page_the_worst(tmp_path: Path, defects: Inspection) -> None:
    many = [
        {"kind": "intensity", "severity": "warning", "number": 0, "detail": f"scan {score}", "score": float(score)}
        for score in range(1000, 0, -1)
    ]
    crowded = Inspection(defects.target, defects.scan_stats, pa.Table.from_pylist(many, schema=ISSUES), True)
    page = write_inspection(tmp_path, crowded).read_text()
    assert "scan 1000" in page
    assert "scan 991" in page
    assert "scan 990" not in page
    content = json.loads((tmp_path / "inspection.json").read_text())
    assert len(content["issues"]) == content["warnings"] == 1000
    assert pq.read_table(tmp_path / "scans.parquet").equals(defects.scan_stats)


def test_a_summary_counts_classes_and_sizes(tmp_path: Path) -> None:
    write_cases(tmp_path, 4)
    summary = summarize(inspection_of(tmp_path))
    assert summary["mask_classes"]["tumor"] == {"voxels": 4 * 8, "masks": 4}
    assert summary["extents"] == {"12×11×10": 4}
    assert summary["voxel_bytes"] == 4 * 12 * 11 * 10 * 2
    assert summary["size_bytes"] == sum(path.stat().st_size for path in tmp_path.rglob("*.nii.gz"))
    assert summary["store_bytes"] is None
    assert json.loads(json.dumps(summary)) == summary


def test_headers_alone_say_what_was_not_checked(tmp_path: Path) -> None:
    write_luna(tmp_path, 3)
    page = page_of(inspection_of(tmp_path, voxels=False))
    assert "Not checked" in page
    assert "No errors, no warnings. Only headers and lists were read, no voxels." in page
    assert 'id="intensity"' not in page
    assert page.count("<image ") == 3


def test_a_data_set_without_a_readable_scan_has_a_page(tmp_path: Path) -> None:
    (tmp_path / "a.nii").write_text("nothing")
    page = page_of(inspection_of(tmp_path))
    assert "1 error to fix" in page
    assert "No scan can be displayed" in page


def test_pictures_show_as_they_are_and_have_no_spacing(tmp_path: Path) -> None:
    for number in range(4):
        pixels = np.random.default_rng(number).integers(0, 256, (9, 8 + number, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    page = page_of(inspection_of(tmp_path))
    assert page.count("<image ") == 4
    assert "<strong>Spacing</strong>" not in page
    assert "<strong>Shape</strong>" in page


def test_images_of_a_stack_show_their_middle(tmp_path: Path) -> None:
    images = np.zeros((2, 5, 7, 6), np.uint8)
    images[:, 2, 1, 3] = 255  # z, y, x
    content = {
        f"{split}_{what}": values
        for split in ("train", "val", "test")
        for what, values in {"images": images, "labels": np.array([[0], [1]])}.items()
    }
    np.savez(tmp_path / "some.npz", **content)
    inspection = inspection_of(tmp_path / "some.npz")
    tile = draw_tiles(inspection, [(inspection.scan_stats.to_pylist()[0], "")])[0]
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.uri.partition(",")[2]))))
    assert picture.shape == (7, 6)
    assert np.argwhere(picture).tolist() == [[1, 3]]
    assert tile.title == "train_images 0"
    assert summarize(inspection)["axes"] == {"": 6}


def test_tiles_come_evenly_from_each_class() -> None:
    rows = [
        {**dict.fromkeys(SCAN_STATS.names), "number": number, "channels": 1, "label": "rare" if number < 3 else "usual"}
        for number in range(200)
    ]
    chosen = choose_evenly(pa.Table.from_pylist(rows, schema=SCAN_STATS), 24)
    assert [row["label"] for row in chosen].count("rare") == 3
    assert len(chosen) == 24
    usual = [row["number"] for row in chosen if row["label"] == "usual"]
    assert (usual[0], usual[-1]) == (3, 199)
    assert np.ptp(np.diff(usual)) <= 1


def test_flagged_tiles_take_kinds_by_turns_and_each_scan_once(defects: Inspection) -> None:
    chosen = choose_flagged(defects, 5)
    kinds = defects.issues.filter(pa.compute.is_valid(defects.issues["number"]))["kind"].to_pylist()
    assert len(chosen) == 5
    assert len({row["number"] for row, _ in chosen}) == 5
    assert [detail for _, detail in chosen] == defects.issues["detail"].to_pylist()[:1] + [
        detail for _, detail in chosen[1:]
    ]
    assert len(choose_flagged(defects, 99)) == len(set(kinds))


def test_a_mask_is_outlined_where_it_is_and_left_out_where_it_does_not_fit(tmp_path: Path) -> None:
    write_cases(tmp_path, 2)
    write_nifti(tmp_path / "labelsTr" / "good_001.nii.gz", np.ones((3, 3, 3), np.uint8))
    inspection = inspection_of(tmp_path)
    tiles = draw_tiles(inspection, [(row, "") for row in inspection.scan_stats.to_pylist()])
    assert [len(tile.outlines) for tile in tiles] == [2, 0]
    assert (tiles[0].width_mm, tiles[0].height_mm) == (12, 11)


@pytest.mark.parametrize(("spacing", "name"), [((1, 1, 1), "axial"), ((1, 1, 5), "axial"), ((4, 1, 1), "sagittal")])
def test_the_displayed_slices_are_those_that_were_acquired(spacing: tuple[float, ...], name: str) -> None:
    assert slice_plane(Volume(image_of(0)[None], np.diag([*spacing, 1.0]))).name == name


@pytest.mark.parametrize("whole", [False, True])
def test_every_value_lies_in_a_bin(whole: bool) -> None:
    for values in (np.array([5.0, 5.0]), np.array([1.0, 700.0, 3.0]), np.arange(1.0, 9.0)):
        counts, _ = np.histogram(values, histogram_edges(values, whole=whole))
        assert counts.sum() == len(values)
