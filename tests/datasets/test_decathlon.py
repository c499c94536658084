import json
from pathlib import Path
from typing import Any

import pytest

from voxray.datasets.decathlon import read_decathlon
from voxray.datasets.files import case_name
from voxray.datasets.manifest import Manifest
from voxray.errors import DataError

CASES = ("BRATS_001", "BRATS_007", "BRATS_003")


def write_task(root: Path, **changes: Any) -> Path:
    """A task folder of empty files; `changes` replace keys of dataset.json, None removes one."""
    content = {
        "name": "BRATS",
        "modality": {"0": "FLAIR", "1": "T1w"},
        "labels": {"0": "background", "1": "edema", "2": "core"},
        "training": [{"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"} for name in CASES],
        "test": ["./imagesTs/BRATS_900.nii.gz"],
    } | changes
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True)
        for name in CASES:
            (root / folder / f"{name}.nii.gz").touch()
    text = json.dumps({key: value for key, value in content.items() if value is not None})
    (root / "dataset.json").write_text(text)
    return root


def quarantined(manifest: Manifest) -> dict[str, tuple[str, int, str]]:
    return {row["scan_id"]: (row["kind"], row["samples"], row["reason"]) for row in manifest.quarantine.to_pylist()}


def test_each_training_case_is_a_scan_with_its_mask_and_one_sample(tmp_path: Path) -> None:
    manifest = read_decathlon(write_task(tmp_path))
    assert manifest.classes == ("background", "edema", "core")
    assert manifest.channels == ("FLAIR", "T1w")
    assert manifest.scans["scan_id"].to_pylist() == list(CASES)
    assert manifest.scans["patient_id"].to_pylist() == list(CASES)
    assert manifest.scans["path"].to_pylist() == [f"imagesTr/{name}.nii.gz" for name in CASES]
    assert manifest.scans["label_path"].to_pylist() == [f"labelsTr/{name}.nii.gz" for name in CASES]
    assert manifest.scans["split"].null_count == 3
    assert manifest.samples["row"].to_pylist() == [0, 1, 2]
    assert manifest.samples["label"].to_pylist() == [0, 0, 0]
    assert manifest.samples["x_mm"].null_count == 3
    assert manifest.quarantine.num_rows == 0
    assert "1 test images without masks are not used" in manifest.notes


def test_classes_are_in_the_order_of_their_numbers_and_not_of_the_file(tmp_path: Path) -> None:
    labels = {str(number): f"part {number}" for number in reversed(range(11))}
    assert read_decathlon(write_task(tmp_path, labels=labels)).classes == tuple(f"part {n}" for n in range(11))


def test_files_without_their_counterpart_are_set_aside_with_the_reason(tmp_path: Path) -> None:
    write_task(tmp_path)
    (tmp_path / "labelsTr" / "BRATS_001.nii.gz").unlink()
    (tmp_path / "imagesTr" / "BRATS_007.nii.gz").unlink()
    manifest = read_decathlon(tmp_path)
    assert manifest.scans["scan_id"].to_pylist() == ["BRATS_003"]
    assert manifest.samples["row"].to_pylist() == [2]
    kind, samples, reason = quarantined(manifest)["BRATS_001"]
    assert (kind, samples) == ("scan", 1)
    assert "an image without its mask: labelsTr/BRATS_001.nii.gz is not on disk" in reason
    kind, samples, reason = quarantined(manifest)["BRATS_007"]
    assert (kind, samples) == ("scan", 1)
    assert "a mask without its image: imagesTr/BRATS_007.nii.gz is not on disk" in reason


def test_cases_that_are_not_on_disk_at_all_are_absent(tmp_path: Path) -> None:
    write_task(tmp_path)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder / "BRATS_003.nii.gz").unlink()
    kind, samples, reason = quarantined(read_decathlon(tmp_path))["BRATS_003"]
    assert (kind, samples) == ("absent", 1)
    assert "neither imagesTr/BRATS_003.nii.gz nor labelsTr/BRATS_003.nii.gz" in reason


def test_files_that_the_list_does_not_name_are_set_aside_but_lose_nothing(tmp_path: Path) -> None:
    write_task(tmp_path)
    for name in ("imagesTr/BRATS_044.nii.gz", "labelsTr/BRATS_055.nii", "imagesTr/notes.txt"):
        (tmp_path / name).touch()
    found = quarantined(read_decathlon(tmp_path))
    assert found == {
        "BRATS_044": ("scan", 0, "imagesTr/BRATS_044.nii.gz is an image that dataset.json does not list"),
        "BRATS_055": ("scan", 0, "labelsTr/BRATS_055.nii is a mask that dataset.json does not list"),
    }


def test_what_macos_leaves_beside_the_files_is_no_scan(tmp_path: Path) -> None:
    write_task(tmp_path)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder / "._BRATS_001.nii.gz").write_bytes(b"\x00\x05\x16\x07")
    assert read_decathlon(tmp_path).quarantine.num_rows == 0


def test_a_case_that_is_listed_twice_counts_once(tmp_path: Path) -> None:
    case = {"image": "imagesTr/BRATS_001.nii.gz", "label": "./labelsTr/BRATS_001.nii.gz"}
    manifest = read_decathlon(write_task(tmp_path, training=[case, case]))
    assert manifest.scans.num_rows == 1
    assert manifest.samples.num_rows == 1
    assert "listed twice: training[0] and [1]" in quarantined(manifest)["BRATS_001"][2]


def test_cases_with_one_file_name_in_several_folders_are_all_scans(tmp_path: Path) -> None:
    images = ["imagesTr/BRATS_001.nii.gz", "imagesTr/p2/BRATS_001.nii.gz", "imagesTr/BRATS_003.nii.gz"]
    training = [{"image": image, "label": image.replace("images", "labels")} for image in images]
    write_task(tmp_path, training=training)
    for folder in ("imagesTr", "labelsTr"):
        (tmp_path / folder / "p2").mkdir()
        (tmp_path / folder / "p2" / "BRATS_001.nii.gz").touch()
    scans = read_decathlon(tmp_path).scans
    assert scans["path"].to_pylist() == images
    assert scans["scan_id"].to_pylist() == [*images[:2], "BRATS_003"]
    assert scans["label_path"].to_pylist() == [entry["label"] for entry in training]


def test_the_digest_tells_masks_and_channels_apart(tmp_path: Path) -> None:
    plain = read_decathlon(write_task(tmp_path / "a"))
    assert plain.digest() == read_decathlon(write_task(tmp_path / "b")).digest()
    other = read_decathlon(write_task(tmp_path / "c", modality={"0": "FLAIR", "1": "T2w"}))
    assert plain.digest() != other.digest()
    swapped = [
        {"image": f"imagesTr/{name}.nii.gz", "label": f"labelsTr/{mask}.nii.gz"}
        for name, mask in zip(CASES, reversed(CASES), strict=True)
    ]
    assert plain.digest() != read_decathlon(write_task(tmp_path / "d", training=swapped)).digest()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": None}, r"dataset\.json: has no key 'labels'"),
        ({"labels": None, "label": {}}, r"has no key 'labels' \(did you mean 'label'\?\)"),
        ({"modality": None}, "has no key 'modality'"),
        ({"training": None}, "has no key 'training'"),
        ({"labels": ["background", "edema"]}, r"labels: expected an object \{…\}, got \['background', 'edema'\]"),
        ({"labels": {"0": "background", "2": "core"}}, "labels: expected the keys '0' … '1' without a gap, got '2'"),
        ({"labels": {"background": 0, "edema": 1}}, "without a gap, got 'background'"),
        ({"labels": {"0": "background", "1": 7}}, r"labels\.1: expected a name, got 7"),
        ({"labels": {"0": "background", "1": "background"}}, "labels: names must differ"),
        ({"labels": {"0": "background"}}, "labels: expected 2 or more names, got 1"),
        ({"modality": {}}, "modality: expected 1 or more names, got 0"),
        ({"training": []}, "training: expected at least one case"),
        ({"training": ["imagesTr/a.nii.gz"]}, r"training\[0\]: expected an image and a label, got 'imagesTr/a.nii.gz'"),
        ({"training": [{"image": "imagesTr/a.nii.gz"}]}, r"training\[0\]\.label: expected a path, got None"),
        (
            {"training": [{"image": "../a.nii", "label": "b"}]},
            r"training\[0\]\.image: expected a path inside data.root, got '\.\./a",
        ),
        ({"training": [{"image": "/a.nii", "label": "b"}]}, "expected a path inside data.root, got '/a.nii'"),
    ],
)
def test_a_description_that_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(DataError, match=words) as caught:
        read_decathlon(write_task(tmp_path, **changes))
    assert caught.value.remedy


@pytest.mark.parametrize(
    ("text", "words"), [("{", "not a JSON file"), ("[1]", "expected an object"), (None, "no such")]
)
def test_a_description_that_is_none_is_refused(tmp_path: Path, text: str | None, words: str) -> None:
    write_task(tmp_path)
    if text is None:
        (tmp_path / "dataset.json").unlink()
    else:
        (tmp_path / "dataset.json").write_text(text)
    with pytest.raises(DataError, match=words):
        read_decathlon(tmp_path)


def test_the_name_of_a_case_is_that_of_its_file_without_suffix() -> None:
    assert case_name("imagesTr/BRATS_001.nii.gz") == "BRATS_001"
    assert case_name("imagesTr/a.b.NII") == "a.b"


@pytest.mark.real_data
def test_the_real_hippocampus_task_is_read(real_data: Path) -> None:
    manifest = read_decathlon(real_data / "Task04_Hippocampus")
    assert manifest.classes == ("background", "Anterior", "Posterior")
    assert manifest.channels == ("MRI",)
    assert manifest.scans.num_rows == manifest.samples.num_rows == 190
    assert manifest.quarantine.num_rows == 0
    assert manifest.scans["label_path"].null_count == 0
