import gzip
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
from readers.nifti_files import SFORM, VOXELS, equal_files, nifti, own_files, refused_files
from readers.reading import assert_same, by_itk, by_voxray

from voxray.errors import ScanError
from voxray.scans.header import read_header
from voxray.scans.read import open_file, open_scan

SHIPPED = Path(nibabel.__file__).parent / "tests" / "data"
# Why a file that nibabel ships for its own tests is no scan.
NO_SCANS = {
    "analyze.hdr": "not a NIfTI file",  # says nothing of left and right
    "nifti1.hdr": r"its voxel file nifti1\.img is missing",  # without its voxels
    "nifti2.hdr": r"its voxel file nifti2\.img is missing",
    "row_major.dconn.nii": "expected 3 dimensions",  # a matrix of connections
}


@pytest.mark.parametrize(
    ("name", "file", "content"), [*equal_files()], ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_file_is_read_as_itk_reads_it(tmp_path: Path, name: str, file: str, content: bytes) -> None:
    (tmp_path / file).write_bytes(content)
    assert_same(by_voxray(tmp_path / file), by_itk(tmp_path / file))


@pytest.mark.parametrize(("name", "file", "content", "voxels", "affine"), [*own_files()])
def test_what_itk_reads_otherwise_is_read_as_the_format_says(
    tmp_path: Path, name: str, file: str, content: bytes, voxels: np.ndarray, affine: np.ndarray
) -> None:
    (tmp_path / file).write_bytes(content)
    assert_same(by_voxray(tmp_path / file), (voxels[None], affine))


@pytest.mark.parametrize(("name", "file", "content", "words"), [*refused_files()])
def test_what_is_no_scan_is_refused_by_header_and_voxels(
    tmp_path: Path, name: str, file: str, content: bytes, words: str
) -> None:
    (tmp_path / file).write_bytes(content)
    for read in (open_scan, read_header):
        with pytest.raises(ScanError, match=words) as caught:
            read(tmp_path / file)
        assert file in str(caught.value)


@pytest.mark.parametrize("path", [p for p in sorted(SHIPPED.iterdir()) if p.name.endswith((".nii", ".nii.gz", ".hdr"))])
def test_the_files_that_nibabel_ships_are_read_as_nibabel_does(path: Path) -> None:
    if path.name in NO_SCANS:
        with pytest.raises(ScanError, match=NO_SCANS[path.name]):
            by_voxray(path)
        return
    image = nibabel.load(path)
    expected = np.asarray(image.dataobj)
    expected = expected.reshape(*expected.shape[:3], -1).transpose(3, 0, 1, 2)
    voxels, affine = by_voxray(path)
    if image.dataobj.slope == 1 and image.dataobj.inter == 0:
        np.testing.assert_array_equal(voxels, expected)
    else:  # scaled in single precision
        np.testing.assert_allclose(voxels, expected, rtol=2e-7)
    np.testing.assert_allclose(affine, image.affine, rtol=1e-5)


@pytest.mark.parametrize("packed", [False, True])
def test_a_pair_of_header_and_voxels_is_one_scan(tmp_path: Path, packed: bool) -> None:
    content = nifti(magic=b"ni1", vox_offset=0)
    (tmp_path / "a.hdr").write_bytes(content[:348])
    with pytest.raises(ScanError, match=r"a\.hdr.*a\.img"):
        open_scan(tmp_path / "a.hdr")
    (tmp_path / "a.img").write_bytes(gzip.compress(content[352:]) if packed else content[352:])
    assert_same(by_voxray(tmp_path / "a.hdr"), (VOXELS[None], SFORM))
    if not packed:
        assert_same(by_itk(tmp_path / "a.hdr"), (VOXELS[None], SFORM))
    assert read_header(tmp_path / "a.hdr").size_bytes == 348 + (tmp_path / "a.img").stat().st_size


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("a.nii", nifti(), ""),
        ("a.nii", nifti(qform=SFORM + 1e-4), ""),
        ("a.nii", nifti(qform=SFORM + np.diag([0, 0, 0.5, 0])), r"sform and qform put voxel \(.*1\) 0.5 mm apart"),
        ("a.nii", nifti(codes=(0, 0)), "neither sform nor qform"),
        ("a.nii", nifti(srow_x=0, srow_y=0, srow_z=0), "its sform is zero; the qform is used"),
        ("a.nii.gz", nifti(), "is not compressed, unlike its name says"),
        ("a.nii", gzip.compress(nifti()), "is compressed, unlike its name says"),
    ],
)
def test_what_is_doubtful_about_a_header_is_noted(tmp_path: Path, file: str, content: bytes, words: str) -> None:
    (tmp_path / file).write_bytes(content)
    notes = "; ".join(read_header(tmp_path / file).notes)
    assert (notes == "") == (words == "")
    if words:
        assert re.search(words, notes)


def test_a_scan_of_several_volumes_has_them_as_channels(tmp_path: Path) -> None:
    voxels = np.arange(48, dtype=np.int16).reshape(4, 3, 2, 2)
    nibabel.save(nibabel.Nifti1Image(voxels, SFORM), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(open_file(tmp_path / "a.nii.gz").array, voxels.transpose(3, 0, 1, 2))
