import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest

from voxray.errors import ScanError
from voxray.scans.read import open_file, open_scan

RNG = np.random.default_rng(3)
AFFINE = np.array([[-1.0, 0, 0, 9], [0, -2.0, 0, 239], [0, 0, 3.0, -7], [0, 0, 0, 1.0]])


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
@pytest.mark.parametrize("dtype", ["uint8", ">i2", "<i2", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 4, 3), (5, 4, 3, 2)])
def test_voxels_and_affine_are_those_of_nibabel(tmp_path: Path, kind: type, dtype: str, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.nii.gz"
    header = kind.header_class(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(np.dtype(dtype))
    image = kind(RNG.integers(0, 200, shape).astype(dtype), AFFINE, header)
    nibabel.save(image, path)
    volume = open_file(path)
    voxels, affine = volume.array.transpose(1, 2, 3, 0).reshape(shape), volume.affine
    np.testing.assert_array_equal(voxels, nibabel.load(path).get_fdata())
    np.testing.assert_allclose(affine, AFFINE)
    assert voxels.dtype.newbyteorder("=") == np.dtype(dtype).newbyteorder("=")


def test_a_scale_factor_is_applied(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RNG.integers(0, 200, (5, 4, 3)).astype(np.int16), AFFINE)
    image.header.set_slope_inter(0.5, -3)
    nibabel.save(image, tmp_path / "a.nii.gz")
    voxels = open_file(tmp_path / "a.nii.gz").array[0]
    assert voxels.dtype == np.float32
    np.testing.assert_allclose(voxels, nibabel.load(tmp_path / "a.nii.gz").get_fdata(), rtol=1e-6)


def test_header_extensions_are_passed_over(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RNG.integers(0, 200, (5, 4, 3)).astype(np.int16), AFFINE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 100))
    nibabel.save(image, tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(open_file(tmp_path / "a.nii.gz").array[0], image.get_fdata())


def test_a_file_of_several_gzip_members_is_one_file(tmp_path: Path) -> None:
    image = nibabel.Nifti1Image(RNG.integers(0, 200, (50, 40, 30)).astype(np.int16), AFFINE)
    plain = image.to_bytes()
    parts = [plain[start : start + 7000] for start in range(0, len(plain), 7000)]
    (tmp_path / "a.nii.gz").write_bytes(b"".join(map(gzip.compress, parts)))
    np.testing.assert_array_equal(open_file(tmp_path / "a.nii.gz").array[0], image.get_fdata())


@pytest.mark.parametrize("kind", ["cut", "short", "checksum", "no gzip", "no nifti", "huge"])
def test_a_damaged_file_is_no_scan(tmp_path: Path, kind: str) -> None:
    plain = nibabel.Nifti1Image(RNG.integers(0, 200, (50, 40, 30)).astype(np.int16), AFFINE).to_bytes()
    packed = gzip.compress(plain)
    damaged = {
        "cut": packed[: len(packed) // 2],
        "short": gzip.compress(plain[:-10]),
        "checksum": packed[:-8] + bytes(each ^ 255 for each in packed[-8:-4]) + packed[-4:],
        "no gzip": b"hello" * 500,
        "no nifti": gzip.compress(b"hello" * 500),
        "huge": gzip.compress(plain[:42] + np.full(3, 32767, "<i2").tobytes() + plain[48:]),
    }
    (tmp_path / "a.nii.gz").write_bytes(damaged[kind])
    with pytest.raises(ScanError) as caught:
        open_scan(tmp_path / "a.nii.gz")
    if kind == "short":
        assert "holds 119,990 bytes of voxels, expected 120,000" in str(caught.value)
