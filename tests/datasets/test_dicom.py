from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_scenes import enhanced, image, save, slices, stored_voxels, write_series

from voxray.datasets.dicom import read_dicom
from voxray.datasets.manifest import Manifest
from voxray.errors import DataError
from voxray.scans.read import open_scan

CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def write(root: Path, number: int, folder: str = "", **changes: Any) -> str:
    """A series of its own voxels; returns its UID."""
    datasets = slices(stored_voxels(number), **changes)
    write_series(root / (folder or f"case{number}/CT"), datasets, f"S{number}-{{:03d}}.dcm")
    return str(datasets[0].SeriesInstanceUID)


def listing(root: Path, *lines: str) -> Manifest:
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return read_dicom(root)


def reasons(manifest: Manifest) -> dict[str, str]:
    return {row["scan_id"]: row["reason"] for row in manifest.quarantine.to_pylist()}


def labels_of(manifest: Manifest) -> dict[str, int]:
    return dict(zip(manifest.samples["scan_id"].to_pylist(), manifest.samples["label"].to_pylist(), strict=True))


@pytest.mark.parametrize("key", ["series", "folder", "patient"])
def test_labels_belong_to_series_folders_or_patients(tmp_path: Path, key: str) -> None:
    uids = [write(tmp_path, number, PatientID=f"P{number}") for number in range(4)]
    names = {"series": uids, "folder": [f"case{each}" for each in range(4)], "patient": [f"P{e}" for e in range(4)]}
    lines = [f"{name},{'ill' if number > 1 else 'well'},train" for number, name in enumerate(names[key])]
    manifest = listing(tmp_path, f"{key},label,split", *lines)
    assert manifest.classes == ("ill", "well")
    assert labels_of(manifest) == {"case0/CT": 1, "case1/CT": 1, "case2/CT": 0, "case3/CT": 0}
    assert manifest.scans["split"].to_pylist() == ["train"] * 4
    assert manifest.quarantine.num_rows == 0
    for number, path in enumerate(manifest.scans["path"].to_pylist()):
        assert open_scan(tmp_path / path).array.max() == stored_voxels(number).max() - 1024


def test_patients_are_those_of_the_header_by_the_name_of_their_first_scan(tmp_path: Path) -> None:
    for number, patient in enumerate(["DOE", "ROE", "DOE", ""]):
        write(tmp_path, number, PatientID=patient)
    manifest = listing(tmp_path, "folder,label", *(f"case{number},{number % 2}" for number in range(4)))
    assert manifest.scans["patient_id"].to_pylist() == ["case0/CT", "case1/CT", "case0/CT", "case3/CT"]
    assert any("1 series name no patient" in note for note in manifest.notes)


def test_the_list_may_say_whose_scans_they_are(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path, number, PatientID="anonymous")
    manifest = listing(tmp_path, "folder,patient,label", "case0,1,a", "case1,2,b", "case2,1,a")
    assert manifest.scans["patient_id"].to_pylist() == ["case0/CT", "case1/CT", "case0/CT"]


def test_two_series_in_one_folder_are_two_scans_and_that_is_said(tmp_path: Path) -> None:
    write(tmp_path, 0, "both")
    write(tmp_path, 1, "both")
    write(tmp_path, 2)
    manifest = listing(tmp_path, "folder,label", "both,ill", "case2,well")
    assert labels_of(manifest) == {"both/S0-000.dcm": 0, "both/S1-000.dcm": 0, "case2/CT": 1}
    assert any("labels by folder: 1 of them name several series" in note for note in manifest.notes)
    for number, path in enumerate(manifest.scans["path"].to_pylist()):
        np.testing.assert_array_equal(open_scan(tmp_path / path).array.sum(), (stored_voxels(number) - 1024.0).sum())


def test_captures_and_localisers_are_left_out_with_the_reason(tmp_path: Path) -> None:
    write(tmp_path, 0)
    write(tmp_path, 1)
    write(tmp_path, 2, "case1/scout", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    save(image(stored_voxels()[0], CAPTURE), tmp_path / "case0" / "CT" / "screen")
    save(image(stored_voxels(), "1.2.840.10008.5.1.4.1.1.88.11", Rows=None), tmp_path / "case0" / "report.dcm")
    (tmp_path / "case0" / "readme.txt").write_text("hello")
    manifest = listing(tmp_path, "folder,label", "case0,0", "case1,1")
    assert labels_of(manifest) == {"case0/CT": 0, "case1/CT": 1}
    assert reasons(manifest) == {
        "case0/CT/screen": "case0/CT/screen: is a secondary capture, no scan",
        "case0/report.dcm": "case0/report.dcm: is an object of the class Basic Text SR, no scan",
        "case1/scout/S2-000.dcm": "case1/scout/S2-000.dcm: is a localizer, no scan",
    }
    assert any("1 files are not DICOM files" in note for note in manifest.notes)


def test_unlabeled_series_and_labels_of_nothing_are_named(tmp_path: Path) -> None:
    write(tmp_path, 0)
    write(tmp_path, 1)
    write(tmp_path, 2)
    manifest = listing(tmp_path, "folder,label", "case0,0", "case1,1", "case7,1")
    assert reasons(manifest) == {
        "case2/CT": "case2/CT: labels.csv has no label for it",
        "labels.csv, line 4": "labels.csv, line 4: no scan on disk belongs to this folder",
    }


def test_a_series_in_two_folders_is_no_scan(tmp_path: Path) -> None:
    """Halves of a series would each look like a whole one."""
    datasets = slices()
    write_series(tmp_path / "a", datasets[:4])
    write_series(tmp_path / "b", datasets[4:])
    write(tmp_path, 1)
    manifest = listing(tmp_path, "folder,label", "a,0", "b,0", "case1,1")
    assert labels_of(manifest) == {"case1/CT": 1}
    assert "its series is in 2 folders" in reasons(manifest)["a"]


def test_a_damaged_file_alone_is_named_and_beside_a_series_found_when_that_is_opened(tmp_path: Path) -> None:
    write(tmp_path, 0)
    write(tmp_path, 1)
    (tmp_path / "case1" / "CT" / "S1-099.dcm").touch()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.dcm").write_bytes(b"\0" * 128 + b"DICM" + b"\2\0")
    manifest = listing(tmp_path, "folder,label", "case0,0", "case1,1")
    assert reasons(manifest) == {"broken/a.dcm": "broken/a.dcm: is cut off, or its header is damaged; fetch it again"}
    assert len(labels_of(manifest)) == 2


def test_multi_frame_objects_are_scans(tmp_path: Path) -> None:
    save(enhanced(stored_voxels()), tmp_path / "mf" / "one.dcm")
    write(tmp_path, 1)
    manifest = listing(tmp_path, "folder,label", "mf,0", "case1,1")
    assert open_scan(tmp_path / manifest.scans["path"].to_pylist()[1]).shape == (12, 10, 7)


def test_files_in_the_root_itself_are_found(tmp_path: Path) -> None:
    write(tmp_path, 0, ".")
    write(tmp_path, 1)
    assert labels_of(listing(tmp_path, "folder,label", ".,0", "case1,1")) == {"S0-000.dcm": 0, "case1/CT": 1}


def test_no_pixel_is_read_while_listing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    uid = write(tmp_path, 0)
    other = write(tmp_path, 1)
    read, until_pixels = pydicom.dcmread, []

    def watched(*positional: Any, **named: Any) -> Any:
        until_pixels.append(named.get("stop_before_pixels", False))
        return read(*positional, **named)

    monkeypatch.setattr(pydicom, "dcmread", watched)
    listing(tmp_path, "series,label", f"{uid},0", f"{other},1")
    assert until_pixels
    assert all(until_pixels)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["name,label", "a,0"], r"has no column that says what is labeled \(known: folder, patient, series\)"),
        (["folder,lable", "a,0"], "has no column 'label'"),
        (["folder,label", "case0,0", "./case0/,1"], "names the same folder in the lines 2 and 3"),
        (["folder,label,split", "case0,0,train", "case1,1,trian"], "unknown split 'trian'"),
        (["folder,label", "case0,"], "column 'label' is empty in line 2"),
    ],
)
def test_a_list_that_cannot_be_is_refused(tmp_path: Path, lines: Sequence[str], words: str) -> None:
    write(tmp_path, 0)
    with pytest.raises(DataError, match=words):
        listing(tmp_path, *lines)


def test_a_folder_without_series_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no DICOM series"):
        listing(tmp_path, "folder,label", "a,0", "b,1")
