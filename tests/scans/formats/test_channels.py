from pathlib import Path

import nibabel
import numpy as np
import pytest

from voxray.errors import ScanError
from voxray.scans.formats.channels import channel_files
from voxray.scans.header import read_header
from voxray.scans.read import open_file, open_scan

RNG = np.random.default_rng(0)
AFFINE = np.diag([-1.0, -1.0, 2.0, 1.0])
NAMES = ("flair", "t1", "t2")
JOINED = "a_{flair,t1,t2}.nii"


def write_channels(folder: Path, **changes: nibabel.Nifti1Image) -> list[np.ndarray]:
    """A scan of three files; `changes` replace some of them."""
    channels = [RNG.integers(0, 900, (5, 6, 7)).astype(np.int16) for _ in NAMES]
    for name, channel in zip(NAMES, channels, strict=True):
        nibabel.save(changes.get(name, nibabel.Nifti1Image(channel, AFFINE)), folder / f"a_{name}.nii")
    return channels


def test_names_in_braces_are_files_in_that_order_and_all_others_are_themselves() -> None:
    files = channel_files(Path("x{1,2}/b") / JOINED)
    assert [str(file) for file in files] == [f"x{{1,2}}/b/a_{name}.nii" for name in NAMES]
    assert channel_files(Path("b/a_{flair.nii,t1.nii.gz}")) == [Path("b/a_flair.nii"), Path("b/a_t1.nii.gz")]
    assert channel_files(Path("b/{i/a.nii,m/a.nii}")) == [Path("b/i/a.nii"), Path("b/m/a.nii")]
    for plain in ("x{1,2}/b/a.nii", "b/a.nii", "b/a_{t1}.nii", "b/a_}t1,t2{.nii"):
        assert channel_files(Path(plain)) == [Path(plain)]


def test_the_files_become_the_channels_of_one_scan(tmp_path: Path) -> None:
    channels = write_channels(tmp_path)
    volume = open_file(tmp_path / JOINED)
    np.testing.assert_array_equal(volume.array, channels)
    np.testing.assert_array_equal(volume.affine, AFFINE)
    assert volume.array.dtype == np.int16
    np.testing.assert_array_equal(open_scan(tmp_path / JOINED).array, np.stack(channels)[:, ::-1, ::-1])


def test_their_headers_tell_what_opening_them_would(tmp_path: Path) -> None:
    write_channels(tmp_path)
    header, volume = read_header(tmp_path / JOINED), open_scan(tmp_path / JOINED)
    assert (header.channels, header.shape, header.dtype) == (3, volume.shape, volume.array.dtype)
    np.testing.assert_array_equal(header.affine, volume.affine)
    assert header.size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


def test_a_common_dtype_holds_the_numbers_of_all_files(tmp_path: Path) -> None:
    floats = RNG.normal(size=(5, 6, 7)).astype(np.float32)
    channels = write_channels(tmp_path, t1=nibabel.Nifti1Image(floats, AFFINE))
    volume = open_scan(tmp_path / JOINED)
    assert volume.array.dtype == read_header(tmp_path / JOINED).dtype == np.float32
    np.testing.assert_array_equal(volume.array[:, ::-1, ::-1], [channels[0], floats, channels[2]])


@pytest.mark.parametrize(
    ("shape", "affine", "words"),
    [
        ((5, 6, 8), AFFINE, r"different shapes, got 5x6x7 in a_flair\.nii and 5x6x8 in a_t1\.nii"),
        ((5, 6, 7), np.diag([-1, -1, 2.5, 1]), r"a_t1\.nii has another position than a_flair\.nii, got 3 mm"),
        ((5, 6, 7), np.diag([1, 1, 2, 1.0]), r"a_t1\.nii has another position"),
    ],
)
def test_files_that_do_not_fit_together_are_named(
    tmp_path: Path, shape: tuple[int, int, int], affine: np.ndarray, words: str
) -> None:
    write_channels(tmp_path, t1=nibabel.Nifti1Image(np.zeros(shape, np.int16), affine))
    with pytest.raises(ScanError, match=words) as caught:
        open_scan(tmp_path / JOINED)
    assert caught.value.where == str(tmp_path / JOINED)
    with pytest.raises(ScanError, match=words):
        read_header(tmp_path / JOINED)


def test_affines_that_differ_by_rounding_are_the_same(tmp_path: Path) -> None:
    write_channels(tmp_path, t1=nibabel.Nifti1Image(np.zeros((5, 6, 7), np.int16), AFFINE + 1e-5 * np.eye(4)))
    assert open_scan(tmp_path / JOINED).shape == (5, 6, 7)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_channels(tmp_path)
    (tmp_path / "a_t2.nii").unlink()
    with pytest.raises(ScanError, match=r"a_t2\.nii: no such file"):
        open_scan(tmp_path / JOINED)
