import gzip
import re
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from scenes import write_metaimage

from voxray.errors import ScanError
from voxray.scans.geometry import canonical_volume, voxel_to_world, world_to_voxel
from voxray.scans.read import open_scan, read_region
from voxray.volume import PatchBox, Volume

RNG = np.random.default_rng(3)
VOXELS = RNG.integers(-1000, 1000, (11, 9, 7)).astype(np.int16)
turns = st.permutations([0, 1, 2]).flatmap(
    lambda order: st.tuples(*[st.sampled_from([-1, 1])] * 3).map(lambda signs: np.eye(3)[order] * signs)
)


def oblique(seed: int) -> np.ndarray:
    matrix = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))[0]
    return matrix * np.sign(np.linalg.det(matrix))


@pytest.mark.parametrize("name", ["a.mhd", "b.mha", "c.nii", "d.nii.gz", "e.nrrd"])
@pytest.mark.parametrize("compressed", [False, True])
@given(turn=turns | st.integers(0, 99).map(oblique))
@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_voxel_keeps_its_world_coordinates(tmp_path: Path, name: str, compressed: bool, turn: np.ndarray) -> None:
    geometry = {"spacing": (0.7, 0.8, 2.5), "origin": (10.0, -20.0, 30.0), "direction": turn.flatten().tolist()}
    image = write_metaimage(tmp_path / name, VOXELS, compressed=compressed, **geometry)
    volume = open_scan(tmp_path / name)
    assert sorted(volume.spacing_mm) == pytest.approx([0.7, 0.8, 2.5], rel=1e-5)
    for index in ([0, 0, 0], [10, 8, 6], [3, 5, 2]):
        lps = np.array(image.TransformIndexToPhysicalPoint(index))
        voxel = world_to_voxel(volume.affine, (lps * [-1, -1, 1])[None])[0]
        nearest = np.rint(voxel).astype(int)
        np.testing.assert_allclose(voxel, nearest, atol=1e-3)
        assert volume.array[0][tuple(nearest)] == VOXELS[tuple(index)]


@given(turn=turns)
@settings(max_examples=24, deadline=None)
def test_canonical_axes_point_right_anterior_and_superior(turn: np.ndarray) -> None:
    affine = np.eye(4)
    affine[:3, :3] = turn * [1, 2, 3]
    volume = canonical_volume(VOXELS[None], affine)
    assert (np.diag(volume.affine)[:3] > 0).all()
    points = RNG.uniform(-5, 5, (4, 3))
    np.testing.assert_allclose(world_to_voxel(volume.affine, voxel_to_world(volume.affine, points)), points)


@given(
    start=st.tuples(*[st.integers(-6, 12)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
)
@settings(max_examples=60, deadline=None)
def test_a_region_is_the_same_as_a_crop_of_the_padded_volume(
    start: tuple[int, int, int], size: tuple[int, int, int]
) -> None:
    padded = np.pad(VOXELS, 24, constant_values=-1000)
    low = np.array(start) + 24
    expected = padded[tuple(slice(a, a + n) for a, n in zip(low, size, strict=True))]
    region = read_region(Volume(VOXELS[None], np.eye(4)), PatchBox(start, size), -1000)
    np.testing.assert_array_equal(region[0], expected)
    assert region.flags.c_contiguous


@pytest.mark.parametrize("flip", [1, -1])
def test_a_region_of_an_uncompressed_metaimage_is_that_of_simpleitk(tmp_path: Path, flip: int) -> None:
    image = write_metaimage(tmp_path / "a.mhd", VOXELS, direction=(flip, 0, 0, 0, flip, 0, 0, 0, 1))
    reader = SimpleITK.ImageFileReader()
    reader.SetFileName(str(tmp_path / "a.mhd"))
    reader.SetExtractIndex([2, 3, 1])
    reader.SetExtractSize([5, 4, 3])
    expected = SimpleITK.GetArrayFromImage(reader.Execute()).transpose(2, 1, 0)
    # LPS with identity direction runs against RAS in plane.
    if flip == 1:
        start, expected = (11 - 2 - 5, 9 - 3 - 4, 1), expected[::-1, ::-1]
    else:
        start = (2, 3, 1)
    region = read_region(open_scan(tmp_path / "a.mhd"), PatchBox(start, (5, 4, 3)), 0)
    np.testing.assert_array_equal(region[0], expected)
    assert image.GetSize() == (11, 9, 7)


def test_a_region_of_an_uncompressed_metaimage_touches_only_its_own_bytes(tmp_path: Path) -> None:
    header = (
        "ObjectType = Image\nNDims = 3\nDimSize = 512 512 1000\nElementSpacing = 1 1 1\n"
        "ElementType = MET_SHORT\nElementDataFile = big.raw\n"
    )
    (tmp_path / "big.mhd").write_text(header)
    with (tmp_path / "big.raw").open("wb") as file:
        file.truncate(512 * 512 * 1000 * 2)
    volume = open_scan(tmp_path / "big.mhd")
    read_region(volume, PatchBox((100, 100, 500), (64, 64, 10)), 0)
    maps = Path("/proc/self/smaps").read_text()
    resident = re.search(r"big\.raw\n(?:.*\n)*?Rss:\s+(\d+) kB", maps)
    assert resident is not None
    # 640 lines of 128 bytes each lie on as many pages of 4 KiB at most, and some more at their ends.
    assert 0 < int(resident[1]) <= 2 * 640 * 4


def test_big_endian_local_and_float_files_are_read(tmp_path: Path) -> None:
    header = "ObjectType = Image\nNDims = 3\nDimSize = 11 9 7\nElementByteOrderMSB = True\nElementSpacing = 1 1 1\n"
    data = VOXELS.transpose(2, 1, 0).astype(">i2").tobytes()
    text = f"{header}TransformMatrix = -1 0 0 0 -1 0 0 0 1\nElementType = MET_SHORT\nElementDataFile = LOCAL\n"
    (tmp_path / "a.mha").write_bytes(text.encode() + data)
    np.testing.assert_array_equal(open_scan(tmp_path / "a.mha").array[0], VOXELS)


def test_nifti_with_a_scale_factor_gives_scaled_numbers_and_others_keep_their_integers(tmp_path: Path) -> None:
    for name, slope in (("plain.nii.gz", 1.0), ("scaled.nii.gz", 0.5)):
        image = nibabel.Nifti1Image(VOXELS, np.eye(4))
        image.header.set_slope_inter(slope, 0)
        image.header.set_data_dtype(np.int16)
        nibabel.save(image, tmp_path / name)
        volume = open_scan(tmp_path / name)
        np.testing.assert_allclose(volume.array[0], nibabel.load(tmp_path / name).get_fdata(), rtol=1e-6)
    assert open_scan(tmp_path / "plain.nii.gz").array.dtype == np.int16
    assert open_scan(tmp_path / "scaled.nii.gz").array.dtype == np.float32


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 3), ("LA", 1), ("1", 1), ("P", 1)])
def test_pictures_are_one_slice_with_x_along_their_lines(tmp_path: Path, mode: str, channels: int) -> None:
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20).convert(mode).save(tmp_path / "a.png")
    volume = open_scan(tmp_path / "a.png")
    assert volume.array.shape == (channels, 4, 3, 1)
    if mode not in ("P", "1"):
        assert volume.array[0, 3, 0, 0] == 60


def broken(folder: Path, kind: str) -> Path:
    path = folder / "scan.mhd"
    write_metaimage(path, VOXELS)
    text = path.read_text()
    if kind == "short":
        with (folder / "scan.raw").open("r+b") as file:
            file.truncate(100)
    elif kind == "missing":
        (folder / "scan.raw").unlink()
    elif kind == "no header":
        path.write_bytes(b"\x00\xff" * 50)
    elif kind == "no size":
        path.write_text(re.sub("DimSize.*\n", "", text))
    elif kind == "NaN offset":
        path.write_text(re.sub("Offset = .*", "Offset = nan 0 0", text))
    elif kind == "singular":
        path.write_text(re.sub("TransformMatrix = .*", "TransformMatrix = 1 0 0 1 0 0 0 0 1", text))
    elif kind == "zero spacing":
        path.write_text(re.sub("ElementSpacing = .*", "ElementSpacing = 0 1 1", text))
    elif kind == "gzip":
        path = folder / "scan.nii.gz"
        nibabel.save(nibabel.Nifti1Image(VOXELS, np.eye(4)), path)
        path.write_bytes(path.read_bytes()[:300])
    elif kind == "no gzip":
        path = folder / "scan.nii.gz"
        path.write_bytes(gzip.compress(b"hello"))
    elif kind == "picture":
        path = folder / "scan.jpg"
        path.write_bytes(b"hello")
    elif kind == "zraw":
        write_metaimage(path, VOXELS, compressed=True)
        (folder / "scan.zraw").write_bytes((folder / "scan.zraw").read_bytes()[:50])
    elif kind == "suffix":
        path = folder / "scan.xyz"
        path.write_text("?")
    return path


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("short", r"scan\.raw holds 100 bytes of voxels, expected 1,386"),
        ("missing", r"its voxel file scan\.raw is missing"),
        ("no header", "not a MetaImage header"),
        ("no size", "the header has no 'DimSize'"),
        ("NaN offset", "'Offset': expected finite numbers"),
        ("singular", "direction matrix is singular"),
        ("zero spacing", "spacing must be above zero"),
        ("gzip", "holds 193 bytes of voxels, expected 1,386. The file is cut off"),
        ("no gzip", "not a NIfTI file"),
        ("picture", "not a picture"),
        ("zraw", r"scan\.zraw cannot be inflated"),
        ("suffix", "unknown file format '.xyz'"),
    ],
)
def test_a_broken_scan_says_what_is_wrong(tmp_path: Path, kind: str, words: str) -> None:
    path = broken(tmp_path, kind)
    with pytest.raises(ScanError, match=words) as caught:
        open_scan(path)
    assert str(path) in str(caught.value)
