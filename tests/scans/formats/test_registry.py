import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ingesting import ingest
from scenes import experiment

from voxray.datasets.loose import read_loose
from voxray.errors import ScanError
from voxray.scans.formats.base import Format
from voxray.scans.formats.registry import FORMATS, find_format, known_suffixes, split_suffix
from voxray.scans.header import read_header
from voxray.scans.read import open_scan
from voxray.storage.paths import AnyPath
from voxray.volume import Volume

RNG = np.random.default_rng(3)


def read_npy(path: AnyPath) -> Volume:
    """What a new format's module holds: an array (x, y, z) with a spacing of 1 mm."""
    return Volume(np.load(path)[None], np.eye(4))


@pytest.fixture
def npy(monkeypatch: pytest.MonkeyPatch) -> Format:
    added = Format("NumPy", (".npy",), read_npy)
    monkeypatch.setitem(FORMATS, added.name, added)
    return added


def test_a_format_is_one_entry_and_then_its_scans_are_inspected_and_ingested(
    npy: Format, tmp_path: Path, out: Path
) -> None:
    root = tmp_path / "arrays"
    root.mkdir()
    arrays = [RNG.integers(0, 99, (9, 8, 4)).astype(np.int16) for _ in range(10)]
    for number, array in enumerate(arrays):
        np.save(root / f"{number}.npy", array)
    (root / "manifest.csv").write_text("path,label\n" + "".join(f"{n}.npy,{n % 2}\n" for n in range(10)))

    header = read_header(root / "0.npy")
    assert (header.channels, header.shape, header.dtype) == (1, (9, 8, 4), np.int16)
    assert (header.spacing_mm, header.axes) == ((1, 1, 1), "RAS")
    assert read_loose(root).scans.num_rows == 10

    patches = {"size": [9, 9, 4], "sampling": "whole", "pad_value": 0, "oversample_rotations": []}
    store = ingest(experiment(root, out, data={"layout": "table"}, patches=patches))
    row = store.rows("train").to_pylist()[0]
    patch = np.asarray(store.open_images("train")[row["slot"]])[0]
    np.testing.assert_array_equal(patch[:, :8], arrays[int(row["scan_id"][:-4])])


def test_a_file_of_an_unknown_format_names_the_known_ones(npy: Format, tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_text("?")
    for read in (read_header, open_scan):
        with pytest.raises(ScanError, match=r"unknown file format '\.xyz'\. Known: \.mhd, .*\.npy"):
            read(tmp_path / "a.xyz")


def test_suffixes_of_two_parts_are_one_suffix() -> None:
    assert split_suffix("a.b.NII.gz") == ("a.b", ".NII.gz")
    assert split_suffix("folder/12") == ("folder/12", "")
    assert len(set(known_suffixes())) == len(known_suffixes())


def test_the_suffix_decides_before_the_content(tmp_path: Path) -> None:
    assert find_format(tmp_path / "a.nii").name == "NIfTI"
    assert find_format(tmp_path / "a.npz" / "train_images" / "7").name == "NPZ stack"
    assert find_format(tmp_path).name == "DICOM"


def test_reading_a_scan_waits_neither_for_itk_nor_for_torch() -> None:
    code = "import sys, voxray.scans.read; print(*({'SimpleITK', 'torch'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
