from pathlib import Path

import pytest

from voxray.datasets.table import read_table
from voxray.errors import DataError


def write(root: Path, *lines: str) -> Path:
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


def test_rows_become_samples_with_their_own_split(tmp_path: Path) -> None:
    write(tmp_path, "path,label,split", "a.png,0,train", "b.png,1,test", "c.png,1,val")
    manifest = read_table(tmp_path)
    assert manifest.scans["split"].to_pylist() == ["train", "test", "val"]
    assert manifest.samples["label"].to_pylist() == [0, 1, 1]
    assert manifest.classes == ("0", "1")
    assert manifest.samples["x_mm"].null_count == 3
    assert any("each row counts as a patient" in note for note in manifest.notes)


def test_labels_may_be_names_and_classes_fix_their_order(tmp_path: Path) -> None:
    write(tmp_path, "path,label,patient_id", "a.png,ill,007", "b.png,well,007")
    manifest = read_table(tmp_path, classes=("well", "ill"))
    assert manifest.samples["label"].to_pylist() == [1, 0]
    assert manifest.scans["patient_id"].to_pylist() == ["007", "007"]
    assert manifest.notes == ()
    assert read_table(tmp_path).classes == ("ill", "well")


def test_columns_may_name_the_files_of_a_scans_channels(tmp_path: Path) -> None:
    write(tmp_path, "path,mask,label", "i/a.nii,m/a.nii,0", "i/b.nii,m/b.nii,1")
    manifest = read_table(tmp_path, channels=("path", "mask"))
    assert manifest.scans["path"].to_pylist() == ["{i/a.nii,m/a.nii}", "{i/b.nii,m/b.nii}"]
    assert manifest.channels == ("path", "mask")
    write(tmp_path, "path,mask,label", "i/a.nii,,0", "i/b.nii,m/b.nii,1")
    with pytest.raises(DataError, match="column 'mask' is empty in line 2"):
        read_table(tmp_path, channels=("path", "mask"))


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["path,lable", "a.png,0"], r"has no column 'label' \(did you mean 'lable'\?\)"),
        (["path,label"], "has no rows"),
        (["path,label", "a.png,0", "a.png,1"], "names 'a.png' more than once"),
        (["path,label,split", "a.png,0,training", "b.png,1,val"], "unknown split 'training'; did you mean 'train'"),
        (["path,label", "a.png,", "b.png,1"], "column 'label' is empty in line 2"),
        (["path,label", "a.png,0", "b.png,0"], "has one class only"),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(tmp_path: Path, lines: list[str], words: str) -> None:
    write(tmp_path, *lines)
    with pytest.raises(DataError, match=words):
        read_table(tmp_path)


def test_an_unknown_label_is_named_with_the_nearest_class(tmp_path: Path) -> None:
    write(tmp_path, "path,label", "a.png,nodul", "b.png,other")
    with pytest.raises(DataError, match="label 'nodul' is no class; did you mean 'nodule'"):
        read_table(tmp_path, classes=("other", "nodule"))


def test_a_missing_manifest_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv: no such file"):
        read_table(tmp_path)


def test_masks_without_labels_are_to_be_learned(tmp_path: Path) -> None:
    write(tmp_path, "path,mask", "i/a.nii,m/a.nii", "i/b.nii,", "i/c.nii,m/c.nii")
    manifest = read_table(tmp_path, classes=("background", "edema", "tumor"))
    assert manifest.masks_are_targets
    assert manifest.classes == ("background", "edema", "tumor")
    assert manifest.scans["label_path"].to_pylist() == ["m/a.nii", "m/c.nii"]
    assert manifest.samples["label"].to_pylist() == [0, 0]
    assert manifest.quarantine["reason"].to_pylist() == [
        "manifest.csv, line 3: i/b.nii has no mask, so that it is not used"
    ]
    two = read_table(tmp_path)
    assert two.classes == ("background", "foreground")
    assert any("data.classes names no values of the masks" in note for note in two.notes)


def test_masks_beside_labels_say_only_where_to_look(tmp_path: Path) -> None:
    write(tmp_path, "path,mask,label", "i/a.nii,m/a.nii,ill", "i/b.nii,,well")
    manifest = read_table(tmp_path)
    assert not manifest.masks_are_targets
    assert manifest.classes == ("ill", "well")
    assert manifest.scans["label_path"].to_pylist() == ["m/a.nii", None]


def test_a_mask_of_two_scans_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "path,mask", "a.nii,m.nii", "b.nii,m.nii")
    with pytest.raises(DataError, match=r"names 'm\.nii' more than once"):
        read_table(tmp_path)


def test_the_manifest_may_lie_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    write(tmp_path / "mine", "path,label", "a.png,0", "b.png,1")
    manifest = read_table(tmp_path / "data", str(tmp_path / "mine" / "manifest.csv"))
    assert manifest.root == tmp_path / "data"
    assert manifest.scans["path"].to_pylist() == ["a.png", "b.png"]


def test_columns_may_name_the_mask_of_each_class(tmp_path: Path) -> None:
    rows = ["a.nii,m/liver.nii,m/tumor.nii", "b.nii,m/b.nii,", "c.nii,,"]
    write(tmp_path, "path,liver,tumor", *rows)
    manifest = read_table(tmp_path, mask_columns=("liver", "tumor"))
    assert manifest.scans["label_path"].to_pylist() == ["{m/liver.nii,m/tumor.nii}", "{m/b.nii,}"]
    assert manifest.classes == ("background", "liver", "tumor")
    assert manifest.quarantine["path"].to_pylist() == ["c.nii"]
    with pytest.raises(DataError, match="has no column 'spleen'"):
        read_table(tmp_path, mask_columns=("liver", "spleen"))
    write(tmp_path, "path,liver,tumor", '"a.nii","m/{a}.nii",m/b.nii')
    with pytest.raises(DataError, match="cannot have commas or braces"):
        read_table(tmp_path, mask_columns=("liver", "tumor"))
