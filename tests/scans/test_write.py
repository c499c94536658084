from pathlib import Path

import nibabel
import numpy as np
import pytest
from nibabel.affines import from_matvec

from voxray.scans.write import write_nifti
from voxray.volume import Volume

AFFINE = from_matvec(np.array([[0, -1.5, 0], [0.7, 0, 0], [0, 0, 3]]), [10, -20, 30])


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(("channels", "dtype"), [(1, "uint8"), (2, "int16"), (4, "float32")])
def test_another_reader_finds_the_voxels_and_their_place_by_either_form(
    tmp_path: Path, name: str, channels: int, dtype: str
) -> None:
    voxels = np.random.default_rng(0).integers(0, 200, (channels, 5, 4, 3)).astype(dtype)
    write_nifti(tmp_path / "folder" / name, Volume(voxels, AFFINE))
    image = nibabel.load(tmp_path / "folder" / name)
    assert image.get_data_dtype() == np.dtype(dtype)
    found = np.asarray(image.dataobj)
    np.testing.assert_array_equal(found if channels == 1 else np.moveaxis(found, -1, 0), voxels.squeeze())
    for form, code in (image.get_sform(coded=True), image.get_qform(coded=True)):
        assert code == 1
        np.testing.assert_allclose(form, AFFINE, atol=1e-5)
    assert [path.name for path in (tmp_path / "folder").iterdir()] == [name]


def test_the_same_volume_gives_the_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    volume = Volume(np.ones((1, 5, 4, 3), np.uint8), AFFINE)
    write_nifti(tmp_path / "a.nii.gz", volume)
    monkeypatch.setattr("time.time", lambda: 2e9)
    write_nifti(tmp_path / "b.nii.gz", volume)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()
