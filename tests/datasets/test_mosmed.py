from pathlib import Path

import pytest

from voxray.config.data import DataSpec
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest
from voxray.datasets.mosmed import read_mosmed
from voxray.errors import DataError

TWO = {"CT-0": ("study_0001", "study_0003"), "CT-23": ("study_0950",)}
FULL = {f"CT-{grade}": (f"study_0{grade}51", f"study_0{grade}52") for grade in range(5)}


def write_studies(root: Path, folders: dict[str, tuple[str, ...]] = TWO, inner: str = "") -> Path:
    """Empty files in class folders."""
    for folder, names in folders.items():
        (root / inner / folder).mkdir(parents=True)
        for name in names:
            (root / inner / folder / f"{name}.nii.gz").touch()
    return root


def labels(manifest: Manifest) -> dict[str, str]:
    pairs = zip(manifest.samples["scan_id"].to_pylist(), manifest.samples["label"].to_pylist(), strict=True)
    return {name: manifest.classes[label] for name, label in pairs}


def test_two_folders_are_normal_and_abnormal(tmp_path: Path) -> None:
    manifest = read_mosmed(write_studies(tmp_path))
    assert manifest.classes == ("normal", "abnormal")
    assert labels(manifest) == {"study_0001": "normal", "study_0003": "normal", "study_0950": "abnormal"}
    assert manifest.scans["path"].to_pylist() == [
        "CT-0/study_0001.nii.gz", "CT-0/study_0003.nii.gz", "CT-23/study_0950.nii.gz"
    ]  # fmt: skip
    assert manifest.scans["patient_id"].to_pylist() == manifest.scans["scan_id"].to_pylist()
    assert manifest.quarantine.num_rows == 0
    assert "normal is CT-0; abnormal is CT-23" in manifest.notes


def test_the_full_set_lies_in_a_folder_of_its_own(tmp_path: Path) -> None:
    write_studies(tmp_path, FULL, inner="studies")
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "study_0151_mask.nii.gz").touch()
    manifest = read_mosmed(tmp_path)
    assert "studies/CT-1/study_0151.nii.gz" in manifest.scans["path"].to_pylist()
    assert sorted(labels(manifest).values()) == ["abnormal"] * 8 + ["normal"] * 2


def test_folders_outside_of_studies_are_named_where_it_is_read(tmp_path: Path) -> None:
    write_studies(tmp_path, FULL, inner="studies")
    write_studies(tmp_path)
    assert read_mosmed(tmp_path).notes[-1] == "CT-0, CT-23: not below studies, not read"


def test_the_classes_of_the_folders_are_a_setting_in_its_order(tmp_path: Path) -> None:
    write_studies(tmp_path, FULL)
    folders = {"CT-0": "none", "CT-1": "mild", "CT-3": "severe", "CT-4": "severe"}
    manifest = read_manifest(DataSpec(layout="mosmed", root=str(tmp_path), folders=folders))
    assert manifest.classes == ("none", "mild", "severe")
    assert labels(manifest)["study_0451"] == "severe"
    assert "study_0251" not in labels(manifest)
    assert "CT-2: not named in data.folders, not read" in manifest.notes


def test_one_name_in_folders_of_two_classes_is_set_aside_and_a_copy_counts_once(tmp_path: Path) -> None:
    write_studies(tmp_path, {"CT-0": ("a", "b"), "CT-1": ("a", "c"), "CT-23": ("c",)})
    manifest = read_mosmed(tmp_path)
    assert labels(manifest) == {"b": "normal", "c": "abnormal"}
    aside = {row["scan_id"]: row for row in manifest.quarantine.to_pylist()}
    assert aside["a"]["samples"] == 1
    assert "CT-0/a.nii.gz (normal) and CT-1/a.nii.gz (abnormal)" in aside["a"]["reason"]
    assert aside["c"]["samples"] == 0
    assert "CT-23/c.nii.gz has the name of CT-1/c.nii.gz" in aside["c"]["reason"]


def test_scans_in_folders_below_are_found_and_other_files_are_not(tmp_path: Path) -> None:
    write_studies(tmp_path, {"CT-0": (), "CT-23": ("b",)})
    (tmp_path / "CT-0" / "CT-0").mkdir()
    for name in ("a.nii", "._a.nii", "notes.txt"):
        (tmp_path / "CT-0" / "CT-0" / name).touch()
    assert read_mosmed(tmp_path).scans["path"].to_pylist() == ["CT-0/CT-0/a.nii", "CT-23/b.nii.gz"]


def test_one_file_name_in_several_folders_of_a_class_is_several_scans(tmp_path: Path) -> None:
    write_studies(tmp_path, {"CT-0/p1": ("ct",), "CT-0/p2": ("ct",), "CT-1/p3": ("ct", "b"), "CT-23/p3": ("ct",)})
    manifest = read_mosmed(tmp_path)
    assert labels(manifest) == {"p1/ct": "normal", "p2/ct": "normal", "p3/ct": "abnormal", "b": "abnormal"}
    (aside,) = manifest.quarantine.to_pylist()
    assert "CT-23/p3/ct.nii.gz has the name of CT-1/p3/ct.nii.gz" in aside["reason"]


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({"CT-0": "normal", "CT-7": "abnormal"}, "has no folder 'CT-7', which data.folders names"),
        ({"CT-0": "normal", "CT-23": "normal"}, r"data\.folders: expected two or more classes, got \['normal'\]"),
    ],
)
def test_folders_that_cannot_be_are_refused(tmp_path: Path, folders: dict[str, str], words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_mosmed(write_studies(tmp_path), folders)


def test_a_root_without_any_class_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds none of the folders CT-0, CT-1, CT-2, CT-3, CT-4, CT-23"):
        read_mosmed(tmp_path)
