"""Scans in object storage: the same voxels as on a disk, for few requests."""

import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from s3_server import CUT, S3
from scenes import write_metaimage

from voxray.errors import ScanError, WorkError
from voxray.scans.header import read_header
from voxray.scans.read import fetch_regions, open_scan, read_region
from voxray.storage.paths import AnyPath
from voxray.volume import PatchBox

FLIPPED = (-1, 0, 0, 0, -1, 0, 0, 0, 1)
TURNED = (0, 1, 0, 1, 0, 0, 0, 0, -1)


def in_storage(s3: S3, file: Path) -> AnyPath:
    return s3.put_folder(file.parent) / file.name


def noise(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(-1000, 1000, shape).astype(np.int16)


def write_scan(folder: Path, kind: str) -> Path:
    file = folder / f"scan{kind}"
    if kind in (".nii", ".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(noise((9, 8, 7)), np.diag([-1.0, -2.0, 3.0, 1.0])), file)
    elif kind == ".png":
        Image.fromarray(noise((9, 8, 1))[..., 0].astype(np.uint8)).save(file)
    else:
        write_metaimage(file, noise((9, 8, 7)), direction=FLIPPED)
    return file


@pytest.mark.parametrize("kind", [".mhd", ".mha", ".nii", ".nii.gz", ".nrrd", ".png"])
def test_a_scan_in_storage_is_the_scan_on_the_disk(s3: S3, tmp_path: Path, kind: str) -> None:
    file = write_scan(tmp_path, kind)
    remote = in_storage(s3, file)
    here, there = open_scan(file), open_scan(remote)
    np.testing.assert_array_equal(there.array, here.array)
    np.testing.assert_array_equal(there.affine, here.affine)
    assert there.array.dtype == here.array.dtype
    assert vars(read_header(remote)).keys() == vars(read_header(file)).keys()
    for name, value in vars(read_header(file)).items():
        np.testing.assert_array_equal(vars(read_header(remote))[name], value)


@pytest.mark.parametrize("direction", [FLIPPED, TURNED])
def test_a_patch_of_a_metaimage_costs_its_own_bytes(s3: S3, tmp_path: Path, direction: tuple[int, ...]) -> None:
    file = tmp_path / "scan.mhd"
    write_metaimage(file, noise((300, 300, 30)), direction=direction)
    remote = in_storage(s3, file)
    boxes = [PatchBox((40, 50, 6), (32, 32, 5)), PatchBox((-3, 250, 25), (32, 64, 10))]
    here, there = open_scan(file), open_scan(remote, by_regions=True)
    fetch_regions(there, boxes)
    for box in boxes:
        np.testing.assert_array_equal(read_region(there, box, 7), read_region(here, box, 7))
    asked = s3.asked("GET", ".raw")
    assert len(asked) == 10  # slices, whose lines are joined; far fewer than the 300 lines of both patches
    assert sum(size for _, size in asked) < file.with_suffix(".raw").stat().st_size / 6


def test_a_packed_scan_is_asked_for_once(s3: S3, tmp_path: Path) -> None:
    remote = in_storage(s3, write_scan(tmp_path, ".nii.gz"))
    open_scan(remote)
    assert [method for method, _, _ in s3.requests] == ["GET"]


def test_a_scan_that_is_cut_off_in_storage_is_a_bad_scan(s3: S3, tmp_path: Path) -> None:
    file = write_scan(tmp_path, ".mhd")
    data = file.with_suffix(".raw")
    data.write_bytes(data.read_bytes()[:-10])
    with pytest.raises(ScanError, match="cut off"):
        open_scan(in_storage(s3, file), by_regions=True)


def test_a_damaged_file_is_named_by_its_url(s3: S3, tmp_path: Path) -> None:
    (tmp_path / "scan.nrrd").write_bytes(gzip.compress(b"no nrrd"))
    remote = in_storage(s3, tmp_path / "scan.nrrd")
    with pytest.raises(ScanError) as raised:
        open_scan(remote)
    assert str(raised.value).startswith(f"{remote}: not an NRRD file")
    assert "voxray_" not in str(raised.value)


def test_a_missing_scan_is_a_bad_scan(s3: S3) -> None:
    for name in ("a.nii.gz", "a.mhd", "a.nrrd", "a"):
        with pytest.raises(ScanError, match="no such file"):
            open_scan(s3.new_folder() / name)


@pytest.mark.parametrize("fault", [503, 500, CUT])
def test_storage_that_fails_now_and_then_is_asked_again(s3: S3, tmp_path: Path, fault: int) -> None:
    file = write_scan(tmp_path, ".mhd")
    remote = in_storage(s3, file)
    failed: set[str] = set()

    def once(method: str, path: str) -> int | None:
        new = method == "GET" and path not in failed
        failed.add(path)
        return fault if new else None

    s3.fault = once
    np.testing.assert_array_equal(open_scan(remote).array, open_scan(file).array)
    assert failed


@pytest.mark.parametrize("fault", [503, 403])
def test_storage_that_fails_for_good_is_no_fault_of_the_scan(s3: S3, tmp_path: Path, fault: int) -> None:
    remote = in_storage(s3, write_scan(tmp_path, ".nii.gz"))
    s3.fault = lambda method, path: fault
    with pytest.raises(WorkError) as raised:
        open_scan(remote)
    assert "object storage failed" in str(raised.value)
    assert str(remote) in str(raised.value)
