import numpy as np
import pytest
from chests import RIGHT, chest

from voxray.proposals.lungs import find_lungs, grown
from voxray.scans.geometry import world_to_voxel
from voxray.volume import Volume


def is_inside(lungs: Volume, point: tuple[float, float, float]) -> bool:
    index = np.rint(world_to_voxel(lungs.affine, np.array([point]))[0]).astype(int)
    return bool(lungs.array[0][tuple(index)])


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.0, 3.0), (0.8, 0.8, 5.0)])
def test_both_lungs_are_found_with_their_volume(spacing: tuple[float, float, float]) -> None:
    lungs = find_lungs(chest(spacing=spacing))
    milliliters = lungs.array.sum() * np.prod(lungs.spacing_mm) / 1000
    assert milliliters == pytest.approx(2 * 4 / 3 * np.pi * 32 * 48 * 55 / 1000, rel=0.1)
    points = [(45, 0, 0), (-45, 0, 0), (0, 0, 0), (88, 68, 0)]
    assert [is_inside(lungs, point) for point in points] == [True, True, False, False]


def test_vessels_and_a_nodule_at_the_wall_belong_to_the_lungs() -> None:
    wall = (RIGHT[0] + 30, 0.0, 0.0)
    lungs = find_lungs(chest([(wall, 12), ((45, 0, 0), 20)]))
    assert is_inside(lungs, (RIGHT[0] + 28, 0, 0))
    assert is_inside(lungs, (45, 0, 0))


def test_air_outside_the_body_and_of_the_bowel_is_no_lung() -> None:
    volume = chest()
    with_bowel = volume.array.copy()
    with_bowel[0, 40:50, 30:40, 2:6] = -900  # 8 ml
    assert find_lungs(Volume(with_bowel, volume.affine)).array.sum() == find_lungs(volume).array.sum()


def test_a_scan_without_lungs_has_none() -> None:
    assert not find_lungs(chest(lungs=False)).array.any()
    assert not find_lungs(Volume(np.full((1, 30, 30, 4), -1000, np.int16), np.eye(4))).array.any()


def test_a_cut_scan_keeps_its_lungs() -> None:
    volume = chest()
    part = Volume(volume.array[..., 20:40], volume.affine)
    assert find_lungs(part).array[0, 20, 35].any()


def test_a_region_grows_by_millimeters_and_an_empty_one_stays_empty() -> None:
    region = Volume(np.zeros((1, 9, 9, 9), bool), np.diag([1.0, 2.0, 4.0, 1.0]))
    assert not grown(region, 4).array.any()
    region.array[0, 4, 4, 4] = True
    index = np.argwhere(grown(region, 4).array[0]) - 4
    assert np.abs(index).max(axis=0).tolist() == [4, 2, 1]
    assert np.linalg.norm(index * [1, 2, 4], axis=1).max() <= 4
