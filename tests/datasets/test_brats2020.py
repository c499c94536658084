from pathlib import Path

import pytest

from voxray.datasets.brats2020 import INNER, read_brats2020
from voxray.datasets.manifest import Manifest
from voxray.errors import DataError

HEADER = (
    "Grade,BraTS_2017_subject_ID,BraTS_2018_subject_ID,TCGA_TCIA_subject_ID,BraTS_2019_subject_ID,BraTS_2020_subject_ID"
)
KINDS = ("flair", "t1", "t1ce", "t2", "seg")
NAMES = [f"BraTS20_Training_{number:03d}" for number in (1, 2, 355)]
ONE, TWO, LAST = NAMES


def write_patients(root: Path, grades: tuple[str, ...] = ("HGG", "LGG", "HGG"), suffix: str = ".nii") -> Path:
    """Three patients of empty files, the last with its mask as in the public set, and the list of them."""
    lines = [HEADER, *(f"{grade},NA,NA,NA,NA,{name}" for grade, name in zip(grades, NAMES, strict=True))]
    root.mkdir(parents=True, exist_ok=True)
    (root / "name_mapping.csv").write_text("\n".join(lines) + "\n")
    for name in NAMES:
        (root / name).mkdir()
        for kind in KINDS:
            file = "W39_1998.09.19_Segm" if name == LAST and kind == "seg" else f"{name}_{kind}"
            (root / name / f"{file}{suffix}").touch()
    return root


def quarantined(manifest: Manifest) -> dict[str, tuple[str, int, str]]:
    return {row["scan_id"]: (row["kind"], row["samples"], row["reason"]) for row in manifest.quarantine.to_pylist()}


def test_a_patient_is_one_scan_of_four_files_with_its_grade(tmp_path: Path) -> None:
    manifest = read_brats2020(write_patients(tmp_path))
    assert manifest.classes == ("LGG", "HGG")
    assert manifest.channels == ("flair", "t1", "t1ce", "t2")
    assert manifest.scans["scan_id"].to_pylist() == manifest.scans["patient_id"].to_pylist() == NAMES
    assert manifest.scans["path"][0].as_py() == f"{ONE}/{ONE}_{{flair.nii,t1.nii,t1ce.nii,t2.nii}}"
    assert manifest.samples["label"].to_pylist() == [1, 0, 1]
    assert manifest.quarantine.num_rows == 0
    assert not manifest.masks_are_targets


def test_both_spellings_of_the_mask_are_known(tmp_path: Path) -> None:
    manifest = read_brats2020(write_patients(tmp_path))
    assert manifest.scans["label_path"].to_pylist() == [
        f"{ONE}/{ONE}_seg.nii", f"{TWO}/{TWO}_seg.nii", f"{LAST}/W39_1998.09.19_Segm.nii"
    ]  # fmt: skip


def test_compressed_files_are_known_also_in_part(tmp_path: Path) -> None:
    write_patients(tmp_path, suffix=".nii.gz")
    (tmp_path / ONE / f"{ONE}_t1.nii.gz").rename(tmp_path / ONE / f"{ONE}_t1.nii")
    manifest = read_brats2020(tmp_path)
    assert manifest.scans["path"][0].as_py() == f"{ONE}/{ONE}_{{flair.nii.gz,t1.nii,t1ce.nii.gz,t2.nii.gz}}"
    assert manifest.scans["label_path"][2].as_py() == f"{LAST}/W39_1998.09.19_Segm.nii.gz"


@pytest.mark.parametrize("inner", INNER[1:])
def test_the_folders_that_the_archives_unpack_to_are_found(tmp_path: Path, inner: str) -> None:
    write_patients(tmp_path / inner)
    manifest = read_brats2020(tmp_path)
    assert manifest.scans["path"][1].as_py().startswith(f"{inner}/{TWO}/{TWO}_{{flair")
    assert manifest.scans["label_path"][1].as_py() == f"{inner}/{TWO}/{TWO}_seg.nii"


def test_of_two_lists_the_one_that_is_read_is_named(tmp_path: Path) -> None:
    write_patients(tmp_path / INNER[1])
    write_patients(tmp_path)
    assert read_brats2020(tmp_path).notes == (f"name_mapping.csv is read, and not {INNER[1]}/name_mapping.csv",)


def test_of_two_copies_of_a_file_the_one_that_is_not_used_is_named(tmp_path: Path) -> None:
    write_patients(tmp_path)
    (tmp_path / ONE / f"{ONE}_t1.nii.gz").touch()
    manifest = read_brats2020(tmp_path)
    assert "t1.nii.gz" in manifest.scans["path"][0].as_py()
    assert quarantined(manifest)[ONE] == ("scan", 0, f"{ONE}_t1.nii is not used, {ONE}_t1.nii.gz is there too")


def test_a_patient_without_a_mask_is_still_a_scan(tmp_path: Path) -> None:
    write_patients(tmp_path)
    (tmp_path / ONE / f"{ONE}_seg.nii").unlink()
    manifest = read_brats2020(tmp_path)
    assert manifest.scans["label_path"][0].as_py() is None
    assert manifest.scans.num_rows == 3


def test_one_file_without_its_companions_is_named_and_set_aside(tmp_path: Path) -> None:
    write_patients(tmp_path)
    for kind in ("t1", "t1ce", "t2", "seg"):
        (tmp_path / TWO / f"{TWO}_{kind}.nii").unlink()
    manifest = read_brats2020(tmp_path)
    kind, samples, reason = quarantined(manifest)[TWO]
    assert (kind, samples) == ("scan", 1)
    assert f"lacks t1, t1ce, t2; its folder holds {TWO}_flair.nii" in reason
    assert manifest.scans["scan_id"].to_pylist() == [ONE, LAST]
    assert manifest.samples["row"].to_pylist() == [0, 2]


def test_a_listed_patient_without_a_folder_is_absent_and_a_folder_that_is_not_listed_loses_nothing(
    tmp_path: Path,
) -> None:
    write_patients(tmp_path)
    (tmp_path / ONE).rename(tmp_path / "BraTS20_Training_400")
    (tmp_path / "BraTS20_Training_401_t1.nii").touch()
    manifest = read_brats2020(tmp_path)
    assert manifest.notes == ("1 of 3 patients in name_mapping.csv have no folder",)
    found = quarantined(manifest)
    assert found[ONE][:2] == ("absent", 1)
    assert "is listed in name_mapping.csv, but has no folder" in found[ONE][2]
    assert found["BraTS20_Training_400"] == (
        "scan", 0, "BraTS20_Training_400 is a folder that name_mapping.csv does not list"
    )  # fmt: skip
    assert "lies outside of any patient's folder" in found["BraTS20_Training_401_t1"][2]


def test_grades_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    write_patients(tmp_path, grades=("HGG", "NA", "IV"))
    with (tmp_path / "name_mapping.csv").open("a") as file:
        file.write(f"LGG,NA,NA,NA,NA,{ONE}\nLGG,,,,,\nHGG,,,,,../elsewhere\n")
    manifest = read_brats2020(tmp_path)
    rows = manifest.quarantine.to_pylist()
    reasons = {row["scan_id"]: row["reason"] for row in rows if row["scan_id"]}
    assert "has different grades in name_mapping.csv: HGG and LGG" in reasons[ONE]
    assert "needs the grade LGG or HGG in name_mapping.csv, got none" in reasons[TWO]
    assert "got IV" in reasons[LAST]
    unnamed = [row["reason"] for row in rows if not row["scan_id"]]
    assert unnamed == [
        "line 6 of name_mapping.csv: expected the name of a folder as BraTS_2020_subject_ID, got ''",
        "line 7 of name_mapping.csv: expected the name of a folder as BraTS_2020_subject_ID, got '../elsewhere'",
    ]


def test_several_masks_of_other_names_are_not_guessed_between(tmp_path: Path) -> None:
    write_patients(tmp_path)
    (tmp_path / LAST / "again_Segm.nii").touch()
    (tmp_path / ONE / "again_Segm.nii").touch()
    manifest = read_brats2020(tmp_path)
    assert "more than one mask: W39_1998.09.19_Segm.nii, again_Segm.nii" in quarantined(manifest)[LAST][2]
    assert manifest.scans["label_path"][0].as_py() == f"{ONE}/{ONE}_seg.nii"


def test_a_folder_without_its_list_or_a_column_of_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"name_mapping\.csv: no such file"):
        read_brats2020(tmp_path)
    write_patients(tmp_path)
    text = (tmp_path / "name_mapping.csv").read_text().replace("Grade,", "grade,")
    (tmp_path / "name_mapping.csv").write_text(text)
    with pytest.raises(DataError, match=r"has no column 'Grade' \(did you mean 'grade'\?\)"):
        read_brats2020(tmp_path)
