import numpy as np
import pytest

from voxray.errors import ScanError
from voxray.patches.cut import center_boxes, cut_patch
from voxray.scans.geometry import voxel_to_world
from voxray.volume import PatchBox, Volume

AFFINE = np.array([[0.7, 0, 0, -50], [0, 0.7, 0, 20], [0, 0, 2.0, -300], [0, 0, 0, 1]])


def volume_of(shape: tuple[int, int, int], dtype: str = "int16") -> Volume:
    voxels = np.random.default_rng(0).integers(0, 200, (1, *shape)).astype(dtype)
    return Volume(voxels, AFFINE)


def box_at(volume: Volume, voxel: tuple[float, float, float], size: tuple[int, int, int]) -> PatchBox:
    (box,) = center_boxes(volume, voxel_to_world(volume.affine, np.array([voxel])), size)
    assert isinstance(box, PatchBox)
    return box


def test_the_candidate_is_in_the_middle_of_its_patch() -> None:
    assert box_at(volume_of((100, 100, 50)), (40.2, 60.4, 20.0), (64, 64, 10)).start == (8, 28, 15)


@pytest.mark.parametrize(("z", "start"), [(0, 0), (2, 0), (49, 40), (46, 40), (25, 20)])
def test_through_the_slices_the_window_is_shifted_inside_the_volume(z: float, start: int) -> None:
    assert box_at(volume_of((100, 100, 50)), (50, 50, z), (64, 64, 10)).start[2] == start


def test_fewer_slices_than_the_patch_are_padded_on_both_sides() -> None:
    volume = volume_of((80, 80, 5))
    box = box_at(volume, (40, 40, 2), (64, 64, 10))
    patch = cut_patch(volume, box, -1000, np.dtype("int16"), "sample 3")
    assert patch.shape == (1, 64, 64, 10)
    inside = (patch != -1000).all(axis=(0, 1, 2))
    assert inside.tolist() == [False] * 2 + [True] * 5 + [False] * 3


def test_on_the_border_in_plane_the_patch_is_padded_with_air() -> None:
    volume = volume_of((80, 80, 20))
    patch = cut_patch(volume, box_at(volume, (0, 79, 10), (64, 64, 10)), -1000, np.dtype("int16"), "sample 3")
    assert (patch[0, :32] == -1000).all()
    assert (patch[0, :, 33:] == -1000).all()
    np.testing.assert_array_equal(patch[0, 32:, :33], volume.array[0, :32, 47:80, 5:15])


@pytest.mark.parametrize("voxel", [(-0.6, 5, 5), (80.0, 5, 5), (5, 5, 19.6), (5, -1, 5)])
def test_a_candidate_outside_the_scan_is_refused(voxel: tuple[float, float, float]) -> None:
    volume = volume_of((80, 80, 20))
    good = (40, 40, 10)
    boxes = center_boxes(volume, voxel_to_world(AFFINE, np.array([good, voxel, good])), (64, 64, 10))
    assert [isinstance(box, PatchBox) for box in boxes] == [True, False, True]
    assert isinstance(boxes[1], ScanError)
    assert "its center lies outside the scan: voxel (" in str(boxes[1])


def test_without_a_center_the_patch_is_in_the_middle_of_the_image() -> None:
    assert center_boxes(volume_of((50, 50, 1)), None, (50, 50, 1)) == [PatchBox((0, 0, 0), (50, 50, 1))]
    assert center_boxes(volume_of((47, 50, 1)), None, (50, 50, 1)) == [PatchBox((-2, 0, 0), (50, 50, 1))]


def test_numbers_that_the_store_cannot_hold_are_refused_and_others_are_kept_exactly() -> None:
    voxels = np.zeros((1, 4, 4, 4), np.float32)
    box = PatchBox((-1, 0, 0), (4, 4, 4))
    patch = cut_patch(Volume(voxels + 7, np.eye(4)), box, -1000, np.dtype("int16"), "a")
    assert patch.dtype == np.int16
    assert np.unique(patch).tolist() == [-1000, 7]
    with pytest.raises(ScanError, match=r"store\.dtype 'int16' cannot hold its value 0\.5"):
        cut_patch(Volume(voxels + 0.5, np.eye(4)), box, -1000, np.dtype("int16"), "a")
    with pytest.raises(ScanError, match="cannot hold its value 70000"):
        cut_patch(Volume(voxels + 70_000, np.eye(4)), box, -1000, np.dtype("int16"), "a")


def test_voxels_that_are_not_numbers_are_refused() -> None:
    voxels = np.full((1, 4, 4, 4), np.nan, np.float32)
    for dtype in ("float32", "int16"):
        with pytest.raises(ScanError, match=r"not finite|cannot hold"):
            cut_patch(Volume(voxels, np.eye(4)), PatchBox((0, 0, 0), (4, 4, 4)), 0, np.dtype(dtype), "a")
