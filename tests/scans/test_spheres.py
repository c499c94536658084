import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scenes import write_luna

from voxray.errors import ScanError
from voxray.scans.files import scan_files
from voxray.scans.formats.spheres import spheres_path
from voxray.scans.geometry import voxel_to_world, world_to_voxel
from voxray.scans.header import read_header
from voxray.scans.read import open_scan
from voxray.scans.spheres import paint_spheres
from voxray.storage.csv_text import csv_header

SCAN = "subset2/1.3.6.1.0.002.mhd"  # its axes are flipped
steps = st.floats(0.4, 3.0)


@st.composite
def affines(draw: st.DrawFn) -> np.ndarray:
    """Any rotation, flip and spacing."""
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    affine = np.eye(4)
    affine[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0] * [draw(steps), draw(steps), draw(steps)]
    affine[:3, 3] = rng.uniform(-300, 300, 3)
    return affine


@given(affines(), st.floats(0.1, 9.0), st.tuples(*[st.floats(-2.0, 13.0)] * 3))
def test_a_sphere_is_every_voxel_whose_center_lies_less_than_a_radius_away(
    affine: np.ndarray, diameter: float, index: tuple[float, float, float]
) -> None:
    shape = (11, 9, 7)
    center = voxel_to_world(affine, np.array([index]))
    mask = paint_spheres(shape, affine, center, np.array([diameter]))
    voxels = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), axis=-1).reshape(-1, 3)
    apart = np.linalg.norm(voxel_to_world(affine, voxels.astype(float)) - center, axis=1).reshape(shape)
    sure = np.abs(apart - diameter / 2) > 1e-9  # rounding decides elsewhere
    np.testing.assert_array_equal(mask[sure], (apart < diameter / 2)[sure])


@given(affines())
def test_a_sphere_of_many_voxels_has_the_volume_and_the_center_that_were_given(affine: np.ndarray) -> None:
    diameter = 16 * np.linalg.norm(affine[:3, :3], axis=0).max()
    shape = tuple(math.ceil(diameter / step) + 4 for step in np.linalg.norm(affine[:3, :3], axis=0))
    center = voxel_to_world(affine, (np.array([shape]) - 1) / 2 + 0.3)
    mask = paint_spheres(shape, affine, center, np.array([diameter]))
    volume = mask.sum() * abs(np.linalg.det(affine[:3, :3]))
    assert volume == pytest.approx(math.pi / 6 * diameter**3, rel=0.05)
    found = voxel_to_world(affine, np.argwhere(mask).mean(0, keepdims=True))
    assert np.linalg.norm(found - center) < 0.02 * diameter


def test_the_border_of_a_sphere_does_not_belong_to_it() -> None:
    mask = paint_spheres((7, 1, 1), np.eye(4), np.array([[3.0, 0, 0]]), np.array([4.0]))
    assert mask.ravel().tolist() == [0, 0, 1, 1, 1, 0, 0]


@pytest.mark.parametrize("diameter", [0.0, -1.0, math.nan])
def test_a_diameter_that_is_not_above_0_or_not_known_paints_nothing(diameter: float) -> None:
    assert not paint_spheres((5, 5, 5), np.eye(4), np.full((1, 3), 2.0), np.array([diameter])).any()
    assert not paint_spheres((5, 5, 5), np.eye(4), np.full((1, 3), math.nan), np.array([4.0])).any()


def write_annotations(root: Path, lines: list[str], separator: str = ",") -> None:
    text = "\n".join(["seriesuid,coordX,coordY,coordZ,diameter_mm", *lines]) + "\n"
    (root / "annotations.csv").write_text("\ufeff" + text.replace(",", separator), encoding="utf-8")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_mask_of_annotations_lies_where_the_list_says_on_the_grid_of_its_scan(tmp_path: Path, separator: str) -> None:
    write_luna(tmp_path, 3)
    scan = open_scan(tmp_path / SCAN)
    point = voxel_to_world(scan.affine, np.array([[12.0, 20.0, 6.0]]))[0]
    lps = f"{-point[0]:.6f},{-point[1]:.6f},{point[2]:.6f}"
    rows = [f" 1.3.6.1.0.002 ,{lps},6", f"1.3.6.1.0.001,{lps},20", f"1.3.6.1.0.002,{lps},-1", f"1.3.6.1.0.002,{lps},"]
    write_annotations(tmp_path, rows, separator)
    path = tmp_path / spheres_path("annotations.csv", SCAN)
    mask, header = open_scan(path), read_header(path)
    assert (mask.shape, header.shape, header.channels, header.size_bytes) == (scan.shape, scan.shape, 1, 0)
    np.testing.assert_array_equal(mask.affine, scan.affine)
    center = np.argwhere(mask.array[0]).mean(0)
    np.testing.assert_allclose(center, world_to_voxel(scan.affine, point[None])[0], atol=1e-6)
    assert scan_files(path) == [tmp_path / "annotations.csv"]


def test_a_mask_whose_scan_or_list_is_missing_is_an_error_of_that_scan(tmp_path: Path) -> None:
    write_luna(tmp_path, 1)
    with pytest.raises(ScanError, match="no such file"):
        open_scan(tmp_path / spheres_path("annotations.csv", "subset0/1.3.6.1.0.000.mhd"))
    write_annotations(tmp_path, [])
    assert not open_scan(tmp_path / spheres_path("annotations.csv", "subset0/1.3.6.1.0.000.mhd")).array.any()
    with pytest.raises(ScanError):
        open_scan(tmp_path / spheres_path("annotations.csv", "subset0/other.mhd"))


def test_the_separator_of_a_list_is_the_one_that_its_header_has_most() -> None:
    assert csv_header("a;b, c ;d\n1,2,3;4") == (["a", "b, c", "d"], ";")
