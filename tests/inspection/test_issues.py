from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from dicom_scenes import slices, stored_voxels, write_series
from inspection_scenes import DEFECTS, image_of, write_cases, write_defects, write_nifti
from PIL import Image
from scenes import experiment, write_luna

from voxray.inspection.issues import find_issues
from voxray.inspection.kinds import ERROR, KINDS
from voxray.inspection.scan_stats import inspect_scans
from voxray.inspection.summary import finish_inspection, summarize
from voxray.inspection.target import InspectionTarget, read_experiment_target, read_target
from voxray.patches.planned import plan_experiment


def issues_of(target: InspectionTarget, voxels: bool = True) -> list[dict[str, Any]]:
    scan_stats = inspect_scans(target.manifest.root, target.targets, target.labels, voxels)
    rows: list[dict[str, Any]] = find_issues(target, scan_stats).to_pylist()
    return rows


def write_pictures(root: Path, header: str, *lines: str) -> Path:
    """A table of pictures; those with one letter in common have the same voxels: ``a1.png`` and ``a2.png``."""
    for line in lines:
        name = line.partition(",")[0]
        pixels = np.random.default_rng(ord(name[0])).integers(0, 256, (9, 8), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name)
    (root / "manifest.csv").write_text("\n".join([header, *lines]) + "\n")
    return root


def test_each_defect_is_found_exactly_once_and_named(tmp_path: Path) -> None:
    write_defects(tmp_path)
    issues = issues_of(read_target(tmp_path))
    assert Counter(row["kind"] for row in issues) == Counter(DEFECTS.keys())
    for row in issues:
        name = DEFECTS[row["kind"]]
        assert name is None or name in f"{row['path']} {row['scan_id']}"
        assert row["severity"] == KINDS[row["kind"]].severity
        assert str(tmp_path) not in row["detail"]
    severities = [row["severity"] for row in issues]
    assert severities == sorted(severities, key=lambda severity: severity != ERROR)
    words = {row["kind"]: row["detail"] for row in issues}
    assert words["leak"] == "same voxels as imagesTr/twin.nii.gz"
    assert "2 mm apart" in words["grid"]
    assert "has the value 7" in words["values"]
    assert "(1, 2, 3)" in words["not_finite"]
    assert words["constant"] == "every voxel has the value 40"
    assert words["spacing"] == "along z 5 mm, median 1 mm"
    assert words["shape"] == "along z 40 voxels, median 10 voxels"
    assert words["unseen"] == "no mask has a voxel of 3 never"


def test_headers_alone_find_all_that_needs_no_voxel(tmp_path: Path) -> None:
    write_defects(tmp_path)
    issues = issues_of(read_target(tmp_path), voxels=False)
    hidden = {name for name, kind in KINDS.items() if kind.needs_voxels}
    assert Counter(row["kind"] for row in issues) == Counter(DEFECTS.keys() - hidden)


def test_a_clean_data_set_has_no_issues(tmp_path: Path) -> None:
    write_cases(tmp_path, 12)
    assert issues_of(read_target(tmp_path)) == []


def test_a_patient_in_two_splits_is_found_once_for_all_scans(tmp_path: Path) -> None:
    lines = ("a.png,0,p,train", "b.png,1,p,val", "c.png,1,p,val", "d.png,0,q,train")
    write_pictures(tmp_path, "path,label,patient_id,split", *lines)
    issues = issues_of(read_target(tmp_path))
    assert [row["kind"] for row in issues] == ["patient"]
    assert issues[0]["detail"] == "patient p has 3 scans, in train and val"
    spec = experiment(tmp_path, tmp_path / "run", data={"layout": "table"}, patches={"size": [8, 8], "pad_value": 0})
    assert [row["kind"] for row in issues_of(read_experiment_target(spec))] == ["patient"]


@pytest.mark.parametrize(
    ("header", "lines", "kind"),
    [
        ("path,label", ("a1.png,0", "a2.png,1", "b.png,0", "c.png,1"), "contradiction"),
        ("path,label", ("a1.png,0", "a2.png,0", "a3.png,0", "b.png,1", "c.png,1"), "leak"),
        ("path,label,split", ("a1.png,0,train", "a2.png,0,val", "b.png,1,val", "c.png,1,val"), "leak"),
        ("path,label,split", ("a1.png,0,val", "a2.png,0,val", "b.png,1,train", "c.png,1,val"), "twin"),
        ("path,label,patient_id", ("a1.png,0,p", "a2.png,0,p", "b.png,1,q", "c.png,1,r"), "twin"),
    ],
)
def test_the_same_voxels_under_two_names_are_one_issue(
    tmp_path: Path, header: str, lines: tuple[str, ...], kind: str
) -> None:
    target = read_target(write_pictures(tmp_path, header, *lines))
    issues = issues_of(target)
    assert [(row["kind"], row["path"]) for row in issues] == [(kind, "a1.png")]
    assert "a2.png" in issues[0]["detail"]


def test_classes_that_look_mistyped_are_one_warning_each(tmp_path: Path) -> None:
    labels = ("MALIGNANT", "MALIGNANT", "Malignant", "Malignant", "malignant", "malignant", "benign")
    write_pictures(
        tmp_path, "path,label", *(f"{name}.png,{label}" for name, label in zip("abcdefg", labels, strict=True))
    )
    target = read_target(tmp_path)
    scan_stats = inspect_scans(target.manifest.root, target.targets, target.labels, False)
    inspection = finish_inspection(target, scan_stats, voxels=False)
    assert [(row["severity"], row["detail"]) for row in inspection.issues.to_pylist()] == [
        ("warning", "the classes 'MALIGNANT', 'Malignant' and 'malignant' differ only in case"),
        ("warning", "the class 'benign' has only one sample"),
    ]
    assert not [note for note in summarize(inspection)["notes"] if "class" in note]


@pytest.mark.parametrize("voxels", [False, True])
def test_a_slice_that_is_shorter_than_its_header_says_is_found_without_voxels(tmp_path: Path, voxels: bool) -> None:
    write_series(tmp_path / "good", slices(stored_voxels(1)))
    for name, kept in (("short", -2), ("none", -500)):
        file = write_series(tmp_path / name, slices(stored_voxels(2), PixelRepresentation=0))[2]
        content = file.read_bytes()
        file.write_bytes(content[: kept if name == "short" else content.rindex(b"\xe0\x7f\x10\x00")])
    target = read_target(tmp_path)
    scan_stats = inspect_scans(target.manifest.root, target.targets, target.labels, voxels)
    inspection = finish_inspection(target, scan_stats, voxels)
    rows = {row["path"]: row["detail"] for row in inspection.issues.to_pylist() if row["kind"] == "unreadable"}
    assert rows.keys() == {"short", "none"}
    assert "is cut off: it holds 238 of 240 bytes of pixels" in rows["short"]
    assert "is cut off before the end of its pixels" in rows["none"]
    assert summarize(inspection)["readable"] == 1


def test_a_scan_whose_voxels_cannot_be_read_counts_as_unreadable(tmp_path: Path) -> None:
    write_nifti(tmp_path / "a.nii.gz", image_of(1))
    write_nifti(tmp_path / "b.nii.gz", image_of(2))
    whole = (tmp_path / "b.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    target = read_target(tmp_path)
    scan_stats = inspect_scans(target.manifest.root, target.targets, target.labels, True)
    inspection = finish_inspection(target, scan_stats, voxels=True)
    assert summarize(inspection)["kinds"] == {"unreadable": 1}
    assert summarize(inspection)["readable"] == 1


def test_a_published_split_may_hold_the_same_voxels_twice(tmp_path: Path) -> None:
    write_pictures(tmp_path, "path,label,split", "a1.png,0,train", "a2.png,0,val", "b.png,1,val", "c.png,1,val")
    target = read_target(tmp_path)
    published = replace(target, manifest=replace(target.manifest, published_split=True))
    assert [row["kind"] for row in issues_of(published)] == ["twin"]


def test_samples_outside_their_scan_are_counted_by_scan(tmp_path: Path) -> None:
    names = write_luna(tmp_path, 3)
    list_ = tmp_path / "candidates.csv"
    with list_.open("a") as file:
        file.write(f"{names[1]},9000,0,0,0\n{names[1]},0,9000,0,1\n")
    issues = issues_of(read_target(tmp_path), voxels=False)
    assert [(row["kind"], row["scan_id"], row["score"]) for row in issues] == [("outside", names[1], 2.0)]
    assert issues[0]["detail"].startswith("2 of its 18 samples, the first at voxel (")


def test_an_experiment_that_cannot_run_says_why(tmp_path: Path) -> None:
    write_luna(tmp_path, 2, positives=1)
    target = read_experiment_target(experiment(tmp_path, tmp_path / "run"))
    issues = issues_of(target, voxels=False)
    assert {row["kind"] for row in issues} == {"plan"}
    assert "has no patch of class" in issues[0]["detail"]


def test_the_splits_are_those_of_the_plan(tmp_path: Path) -> None:
    write_luna(tmp_path, 8)
    target = read_experiment_target(experiment(tmp_path, tmp_path / "run"))
    assert target.plan is not None
    planned = dict(zip(*(target.plan.table[name].to_pylist() for name in ("scan_id", "split")), strict=True))
    targets = target.targets
    assert dict(zip(targets["scan_id"].to_pylist(), targets["split"].to_pylist(), strict=True)) == planned
    assert issues_of(target) == []


def test_of_a_cross_validation_the_first_fold_is_planned(tmp_path: Path) -> None:
    write_luna(tmp_path, 8)
    target = read_experiment_target(experiment(tmp_path, tmp_path / "run", split={"folds": 3, "test": 0}))
    assert target.plan_problems == ()
    assert target.targets["split"].null_count == 0
    assert "first of 3 folds" in target.manifest.notes[-1]


def test_dicom_series_that_make_no_regular_grid_are_found(tmp_path: Path) -> None:
    series = {name: slices(stored_voxels(number)) for number, name in enumerate(("good", "tilted", "uneven", "other"))}
    for number, dataset in enumerate(series["tilted"]):
        x, y, z = map(float, dataset.ImagePositionPatient)
        dataset.ImagePositionPatient = [x, y + number * 0.5, z]
    series["uneven"][4].ImagePositionPatient = [
        *series["uneven"][4].ImagePositionPatient[:2],
        float(series["uneven"][4].ImagePositionPatient[2]) + 1,
    ]
    for name, datasets in series.items():
        write_series(tmp_path / name, datasets)
    words = {"tilted": "gantry tilt", "uneven": "unequal slice distances"}
    for layout in (None, "dicom"):
        issues = issues_of(read_target(tmp_path), voxels=layout is None)
        assert [(row["kind"], row["path"]) for row in issues] == [("unreadable", "tilted"), ("unreadable", "uneven")]
        assert all(words[row["path"]] in row["detail"] for row in issues)
        (tmp_path / "labels.csv").write_text("folder,label\ngood,0\ntilted,1\nuneven,0\nother,1\n")
    assert read_target(tmp_path).layout == "dicom"


def test_the_plan_of_an_experiment_with_pseudonyms_is_the_one_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_luna(tmp_path, 12)
    monkeypatch.setenv("SOME_KEY", "0123456789abcdef")
    spec = experiment(tmp_path, tmp_path / "run", privacy={"key_env": "SOME_KEY"})
    target = read_experiment_target(spec)
    _, plan = plan_experiment(spec)
    planned = dict(zip(*(plan.table[name].to_pylist() for name in ("path", "split")), strict=True))
    assert dict(zip(*(target.targets[name].to_pylist() for name in ("path", "split")), strict=True)) == planned


def test_loose_scans_below_a_folder_are_all_inspected(tmp_path: Path) -> None:
    write_nifti(tmp_path / "deep" / "a.nii.gz", image_of(1))
    write_nifti(tmp_path / "b.nii", image_of(2))
    (tmp_path / "notes.txt").write_text("no scan")
    (tmp_path / "._b.nii").write_text("no scan either")
    (tmp_path / "broken.nii").write_text("no scan at all")
    target = read_target(tmp_path)
    assert target.targets["path"].to_pylist() == ["b.nii", "broken.nii", "deep/a.nii.gz"]
    assert [(row["kind"], row["path"]) for row in issues_of(target)] == [("unreadable", "broken.nii")]


def test_a_data_set_whose_scans_are_all_lost_is_reported_as_such(tmp_path: Path) -> None:
    write_cases(tmp_path, 3)
    for path in (tmp_path / "imagesTr").iterdir():
        path.write_bytes(b"")
    assert {row["kind"] for row in issues_of(read_target(tmp_path))} == {"unreadable"}
    for path in [*(tmp_path / "imagesTr").iterdir(), *(tmp_path / "labelsTr").iterdir()]:
        path.unlink()
    issues = issues_of(read_target(tmp_path))
    assert [row["kind"] for row in issues] == ["absent"] * 3
    assert isinstance(read_target(tmp_path).targets, pa.Table)
