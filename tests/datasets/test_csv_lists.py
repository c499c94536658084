from pathlib import Path

import pytest

from voxray.config.data import DataSpec
from voxray.datasets.csv_lists import read_csv, scan_path
from voxray.datasets.layouts import read_manifest
from voxray.datasets.manifest import Manifest
from voxray.errors import DataError

PLAIN = "path,label,patient_id\na.png,ill,007\nb.png,well,8\nc.png,ill,9\nd.png,well,10\n"
SPELLINGS = {
    "as it is": PLAIN.encode(),
    "blanks": PLAIN.replace(",", " , ").encode(),
    "a byte order mark": PLAIN.encode("utf-8-sig"),
    "lines of Windows": PLAIN.replace("\n", "\r\n").encode(),
    "semicolons": PLAIN.replace(",", ";").encode(),
    "tabs": PLAIN.replace(",", "\t").encode(),
    "quotes": PLAIN.replace("ill", '"ill"').encode(),
    "empty lines": PLAIN.replace("\n", "\n\n").encode(),
    "other paths": PLAIN.replace("a.png", "./a.png").replace("b.png", "x/../b.png").encode(),
}


def read(root: Path, content: bytes) -> Manifest:
    (root / "manifest.csv").write_bytes(content)
    return read_manifest(DataSpec(layout="table", root=str(root)))


@pytest.mark.parametrize("name", list(SPELLINGS))
def test_a_list_is_the_same_in_every_spelling(tmp_path: Path, name: str) -> None:
    manifest = read(tmp_path, SPELLINGS[name])
    assert manifest.classes == ("ill", "well")
    assert manifest.scans["scan_id"].to_pylist() == ["a.png", "b.png", "c.png", "d.png"]
    assert manifest.scans["patient_id"].to_pylist() == ["007", "8", "9", "10"]
    assert manifest.samples["label"].to_pylist() == [0, 1, 0, 1]
    assert manifest.notes == ()


def test_two_spellings_of_a_path_are_one_path(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"names 'a\.png' more than once"):
        read(tmp_path, b"path,label\na.png,0\n./a.png,1\n")


def test_labels_that_look_mistyped_are_noted(tmp_path: Path) -> None:
    notes = read(tmp_path, b"path,label,patient_id\na,malignant ,1\nb,Malignant,2\nc,benign,3\nd,malignant,4\n").notes
    assert notes == (
        "the classes 'Malignant' and 'malignant' differ only in case",
        "the class 'Malignant' has only one sample",
        "the class 'benign' has only one sample",
    )


@pytest.mark.parametrize(
    "path",
    ["../a.png", "/etc/passwd", "x/../../a.png", "{../a.nii,b.nii}", "s3://bucket/a", "..", ".", "\\\\host\\a"],
)
def test_no_path_of_a_list_leads_out_of_the_folder(tmp_path: Path, path: str) -> None:
    with pytest.raises(DataError, match=r"manifest\.csv: expected a path inside data\.root, got "):
        read(tmp_path, f'path,label\n"{path}",0\nb.png,1\n'.encode())


def test_a_path_keeps_what_tells_it_apart() -> None:
    assert scan_path("./x//a b.nii", "list") == "x/a b.nii"
    assert scan_path("..a/b..nii", "list") == "..a/b..nii"
    assert scan_path("a_{t1,t2}.nii", "list") == "a_{t1,t2}.nii"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a,b\n1,2\xff\n", r"is no UTF-8 text: byte 0xff at position 7"),
        ("a,b\n1,2\n".encode("utf-16"), "is no UTF-8 text: byte 0xff at position 0"),
        (b"a,b\n1,\0\n", "holds null characters"),
        (b"a,a \n1,2\n", "has the column 'a' more than once"),
        (b"a,b\n1,x\n", "column 'b': expected numbers"),
        (b"a,b\n1,2,3\n", "not readable as CSV: .*Expected 2 columns, got 3"),
        (b"", r"has no column 'a'"),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: bytes, words: str) -> None:
    (tmp_path / "list.csv").write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_csv(tmp_path / "list.csv", ["a", "b"], text=["a"], numbers=["b"])
