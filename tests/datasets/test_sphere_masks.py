from pathlib import Path

import pytest
from scenes import experiment, write_annotations, write_luna

from voxray.config.data import DataSpec
from voxray.datasets.layouts import read_manifest
from voxray.datasets.luna16 import read_luna16
from voxray.errors import ConfigError, DataError
from voxray.patches.plan import Plan, plan_patches
from voxray.scans.read import open_scan


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("luna")
    write_luna(root, 12, positives=1, negatives=2)
    # Every third scan has no positive candidate.
    lines = (root / "candidates.csv").read_text().splitlines()
    lines[1::9] = [f"{line[:-1]}0" for line in lines[1::9]]
    (root / "candidates.csv").write_text("\n".join(lines) + "\n")
    write_annotations(root, diameter_mm=6.0)
    return root


def split_of_scans(plan: Plan) -> dict[str, str]:
    return dict(zip(plan.table["scan_id"].to_pylist(), plan.table["split"].to_pylist(), strict=True))


def test_each_scan_with_candidates_has_a_mask_with_spheres(folder: Path) -> None:
    manifest = read_luna16(folder, masks="annotations")
    assert manifest.classes == ("background", "nodule")
    assert manifest.samples.num_rows == manifest.scans.num_rows == 12
    assert "masks are spheres around 8 nodules of annotations.csv, in 8 scans" in manifest.notes
    nodules = [open_scan(folder / path).array.any() for path in manifest.scans["label_path"].to_pylist()]
    assert sum(nodules) == 8


@pytest.mark.parametrize(
    "split", [{"val": 0.25, "test": 0.25}, {"folds": 3, "fold": 1}, {"folds": "subsets", "fold": 1}]
)
def test_a_scan_is_in_the_split_in_which_its_candidates_are(folder: Path, split: dict[str, object]) -> None:
    spec = experiment(folder, folder / "run", split=split)
    points = plan_patches(read_luna16(folder), spec)
    masks = plan_patches(read_luna16(folder, masks="annotations"), spec)
    assert (points.task, masks.task) == ("classification", "segmentation")
    assert split_of_scans(points) == split_of_scans(masks)


def test_the_digest_depends_on_the_annotations_and_not_on_their_order(folder: Path, tmp_path: Path) -> None:
    def digest(lines: list[str]) -> str:
        (folder / "annotations.csv").write_text("\n".join(lines) + "\n")
        return read_luna16(folder, masks="annotations").digest()

    header, *lines = (folder / "annotations.csv").read_text().splitlines()
    first = digest([header, *lines])
    assert digest([header, *lines[::-1]]) == first
    assert digest([header, *lines, "another.series,1,2,3,4"]) == first
    assert digest([header, *lines[1:]]) != first
    assert digest([header, *lines]) == first


def test_nodules_without_a_diameter_are_counted_and_left_out(folder: Path) -> None:
    text = (folder / "annotations.csv").read_text()
    header, *lines = text.splitlines()
    lines[0], lines[1] = f"{lines[0].rpartition(',')[0]},-1", f"{lines[1].rpartition(',')[0]},"
    (folder / "annotations.csv").write_text("\n".join([header, *lines]) + "\n")
    notes = read_luna16(folder, masks="annotations").notes
    (folder / "annotations.csv").write_text(text)
    assert notes[-1] == (
        "masks are spheres around 6 nodules of annotations.csv, in 6 scans; "
        "2 nodules without a point or a diameter above 0 are left out"
    )


def test_points_that_are_no_numbers_lose_no_scan(folder: Path, tmp_path: Path) -> None:
    names = write_luna(tmp_path, 2, positives=1, negatives=1)
    write_annotations(tmp_path)
    lines = (tmp_path / "candidates.csv").read_text().splitlines()
    lines[1] = f"{names[0]},nan,1,2,0"
    (tmp_path / "candidates.csv").write_text("\n".join([*lines, "absent,1,2,3,0", "absent,1,2,4,0"]) + "\n")
    manifest = read_luna16(tmp_path, masks="annotations")
    assert manifest.samples.num_rows == 2
    assert [(row["kind"], row["samples"]) for row in manifest.quarantine.to_pylist()] == [("absent", 1)]


def test_masks_need_the_list_of_annotations(tmp_path: Path) -> None:
    write_luna(tmp_path, 1)
    with pytest.raises(DataError, match=r"annotations.csv: no such file"):
        read_luna16(tmp_path, masks="annotations")


def test_other_layouts_do_not_paint_masks(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"data.masks: layout 'mosmed' does not use it"):
        read_manifest(DataSpec(layout="mosmed", root=str(tmp_path), masks="annotations"))
