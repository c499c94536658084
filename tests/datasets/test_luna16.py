from pathlib import Path

import numpy as np
import pytest
import SimpleITK
from scenes import write_luna

from voxray.datasets.luna16 import read_luna16
from voxray.errors import DataError


def edit(root: Path, old: str, new: str) -> None:
    path = root / "candidates.csv"
    path.write_text(path.read_text().replace(old, new, 1))


def test_candidates_come_with_ras_coordinates_and_labels(tmp_path: Path) -> None:
    names = write_luna(tmp_path, 3, positives=1, negatives=2)
    manifest = read_luna16(tmp_path)
    assert manifest.scans["scan_id"].to_pylist() == names
    assert manifest.samples["label"].to_pylist() == [1, 0, 0] * 3
    line = (tmp_path / "candidates.csv").read_text().splitlines()[1].split(",")
    first = manifest.samples.slice(0, 1).to_pylist()[0]
    assert [first["x_mm"], first["y_mm"], first["z_mm"]] == [-float(line[1]), -float(line[2]), float(line[3])]
    assert manifest.quarantine.num_rows == 0


def test_missing_subsets_and_absent_scans_are_counted_and_do_not_stop(tmp_path: Path) -> None:
    names = write_luna(tmp_path, 4, positives=1, negatives=2)
    for path in (tmp_path / "subset3").iterdir():
        path.unlink()
    (tmp_path / "subset3").rmdir()
    manifest = read_luna16(tmp_path)
    assert manifest.scans.num_rows == 3
    assert manifest.samples.num_rows == 9
    (lost,) = manifest.quarantine.to_pylist()
    assert (lost["scan_id"], lost["kind"], lost["samples"]) == (names[3], "absent", 3)
    assert any("subset3" in note and "3 candidates" in note for note in manifest.notes)


def test_the_newer_list_is_preferred_and_another_one_can_be_named(tmp_path: Path) -> None:
    names = write_luna(tmp_path, 2, positives=1, negatives=2)
    (tmp_path / "candidates_V2.csv").write_text(f"seriesuid,coordX,coordY,coordZ,class\n{names[0]},0,0,-80,1\n")
    newer, older = read_luna16(tmp_path), read_luna16(tmp_path, "candidates.csv")
    assert (newer.samples.num_rows, older.samples.num_rows) == (1, 6)
    unread = "is there too and is not read, data.candidates names the list"
    assert newer.notes[0] == f"1 candidates of candidates_V2.csv; candidates.csv {unread}"
    assert older.notes[0] == f"6 candidates of candidates.csv; candidates_V2.csv {unread}"


def test_the_only_list_is_named_too(tmp_path: Path) -> None:
    write_luna(tmp_path, 2, positives=1, negatives=2)
    assert read_luna16(tmp_path).notes[0] == "6 candidates of candidates.csv"


def test_coordinates_that_are_not_numbers_are_set_aside_with_their_row(tmp_path: Path) -> None:
    names = write_luna(tmp_path, 2, positives=1, negatives=2)
    lines = (tmp_path / "candidates.csv").read_text().splitlines()
    lines[2] = f"{names[0]},nan,1,2,0"
    lines[3] = f"{names[0]},,1,2,0"
    (tmp_path / "candidates.csv").write_text("\n".join(lines))
    manifest = read_luna16(tmp_path)
    assert manifest.samples.num_rows == 4
    assert [(row["row"], row["kind"]) for row in manifest.quarantine.to_pylist()] == [(1, "sample"), (2, "sample")]
    assert "not numbers" in manifest.quarantine["reason"][0].as_py()


def test_a_series_in_two_subsets_is_used_once_and_named(tmp_path: Path) -> None:
    names = write_luna(tmp_path, 2, positives=1, negatives=2)
    for suffix in ("mhd", "raw"):
        (tmp_path / "subset1" / f"{names[0]}.{suffix}").write_bytes(
            (tmp_path / "subset0" / f"{names[0]}.{suffix}").read_bytes()
        )
    manifest = read_luna16(tmp_path)
    assert manifest.scans["path"].to_pylist() == [f"subset0/{names[0]}.mhd", f"subset1/{names[1]}.mhd"]
    assert "also in subset0" in manifest.quarantine["reason"][0].as_py()
    assert manifest.samples.num_rows == 6


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("coordZ", "coordzz", r"candidates\.csv: has no column 'coordZ'"),
        ("class", "klass", "has no column 'class'"),
        (",1\n", ",2\n", "column 'class': expected 0 or 1, got 2"),
        (",1\n", ",yes\n", "column 'class': expected numbers"),
    ],
)
def test_a_list_that_is_no_list_is_refused(tmp_path: Path, old: str, new: str, words: str) -> None:
    write_luna(tmp_path, 1, positives=1, negatives=2)
    edit(tmp_path, old, new)
    with pytest.raises(DataError, match=words):
        read_luna16(tmp_path)


def test_a_folder_without_subsets_or_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="none of the folders subset0"):
        read_luna16(tmp_path)
    (tmp_path / "subset0").mkdir()
    with pytest.raises(DataError, match="no such file"):
        read_luna16(tmp_path)


@pytest.mark.real_data
def test_the_real_annotations_parse(real_data: Path, tmp_path: Path) -> None:
    text = (real_data / "luna16_csv" / "annotations.csv").read_text()
    lines = text.strip().splitlines()
    name = lines[1].split(",")[0]
    body = [",".join([*line.split(",")[:4], "1"]) for line in lines[1:]]
    (tmp_path / "candidates.csv").write_text("\n".join(["seriesuid,coordX,coordY,coordZ,class", *body]))
    (tmp_path / "subset0").mkdir()
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.zeros((4, 4, 4), np.int16)), str(tmp_path / f"subset0/{name}.mhd")
    )
    manifest = read_luna16(tmp_path)
    assert manifest.samples.num_rows + sum(manifest.quarantine["samples"].to_pylist()) == 1186
    assert manifest.quarantine.num_rows == 600
