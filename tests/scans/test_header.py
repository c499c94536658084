import gzip
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes import write_metaimage

from voxray.errors import ScanError
from voxray.scans.header import read_header
from voxray.scans.read import open_scan

RNG = np.random.default_rng(5)
VOXELS = RNG.integers(-1000, 1000, (9, 7, 5)).astype(np.int16)
BAD_AFFINES = {"not a number": np.full((3, 4), np.nan), "zero": np.zeros((3, 4)), "flat": np.diag([1.0, 1, 0, 1])[:3]}


def turns() -> st.SearchStrategy[np.ndarray]:
    signs = st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3)
    oblique = st.integers(0, 99).map(lambda seed: np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0])
    return oblique | st.permutations([0, 1, 2]).flatmap(
        lambda order: signs.map(lambda each: np.eye(3)[list(order)] * each)
    )


def same_as_opened(path: Path) -> None:
    header, volume = read_header(path), open_scan(path)
    assert (header.channels, *header.shape) == volume.array.shape
    assert header.dtype.newbyteorder("=") == volume.array.dtype.newbyteorder("=")
    np.testing.assert_allclose(header.affine, volume.affine, atol=1e-9)
    assert header.spacing_mm == pytest.approx(volume.spacing_mm)


@pytest.mark.parametrize("name", ["a.mhd", "b.mha", "c.nii", "d.nii.gz", "e.nrrd"])
@pytest.mark.parametrize("compressed", [False, True])
@given(turn=turns())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_header_says_what_opening_the_scan_gives(
    tmp_path: Path, name: str, compressed: bool, turn: np.ndarray
) -> None:
    geometry = {"spacing": (0.7, 0.8, 2.5), "origin": (10.0, -20.0, 30.0), "direction": turn.flatten().tolist()}
    write_metaimage(tmp_path / name, VOXELS, compressed=compressed, **geometry)
    same_as_opened(tmp_path / name)


@pytest.mark.parametrize("shape", [(5, 4), (5, 4, 3), (5, 4, 3, 2), (5, 4, 3, 1, 1)])
@pytest.mark.parametrize("slope", [1, 0.5])
def test_channels_and_scale_factors_of_nifti_are_known(tmp_path: Path, shape: tuple[int, ...], slope: float) -> None:
    image = nibabel.Nifti1Image(np.ones(shape, np.int16), np.diag([-1.0, 2, 3, 1]))
    image.header.set_slope_inter(slope, 0)
    for name in ("a.nii", "b.nii.gz"):
        nibabel.save(image, tmp_path / name)
        same_as_opened(tmp_path / name)
        assert read_header(tmp_path / name).axes == "LAS"


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16"])
def test_pictures_have_no_place_in_a_patient(tmp_path: Path, mode: str) -> None:
    picture = Image.fromarray(np.arange(20, dtype=np.uint8).reshape(4, 5)).convert(mode.partition(";")[0])
    if mode == "I;16":
        picture = Image.fromarray(np.arange(20, dtype=np.uint16).reshape(4, 5))
    picture.save(tmp_path / "a.png")
    same_as_opened(tmp_path / "a.png")
    assert read_header(tmp_path / "a.png").axes == ""


def test_the_size_on_disk_counts_header_and_voxels(tmp_path: Path) -> None:
    write_metaimage(tmp_path / "a.mhd", VOXELS)
    assert read_header(tmp_path / "a.mhd").size_bytes == sum(file.stat().st_size for file in tmp_path.iterdir())


@pytest.mark.parametrize("name", ["a.mhd", "a.mha", "a.nii"])
def test_a_file_that_is_cut_off_is_found_by_its_size(tmp_path: Path, name: str) -> None:
    write_metaimage(tmp_path / name, VOXELS)
    file = tmp_path / name.replace(".mhd", ".raw")
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(ScanError, match=r"holds \d+ bytes of voxels, expected 630"):
        read_header(tmp_path / name)


@pytest.mark.parametrize("read", [read_header, open_scan])
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("kind", BAD_AFFINES)
def test_an_affine_that_leads_nowhere_is_named(tmp_path: Path, read: object, suffix: str, kind: str) -> None:
    nibabel.save(nibabel.Nifti1Image(VOXELS, np.diag([2.0, 2, 2, 1])), tmp_path / "a.nii")
    content = bytearray((tmp_path / "a.nii").read_bytes())
    # The rows of the sform, where the format keeps them.
    content[280:328] = BAD_AFFINES[kind].astype("<f4").tobytes()
    path = tmp_path / f"b{suffix}"
    path.write_bytes(gzip.compress(bytes(content)) if suffix.endswith("gz") else bytes(content))
    with pytest.raises(ScanError, match="is singular or not finite"):
        read(path)  # type: ignore[operator]


@pytest.mark.parametrize("name", ["a.nii.gz", "a.nii", "a.mhd", "a.nrrd", "a.png"])
def test_nonsense_and_absent_files_are_scan_errors(tmp_path: Path, name: str) -> None:
    with pytest.raises(ScanError):
        read_header(tmp_path / name)
    (tmp_path / name).write_bytes(b"nonsense" * 100)
    with pytest.raises(ScanError):
        read_header(tmp_path / name)
