"""The branching vessels, airways and fissures of the synthetic lungs."""

import numpy as np
import pytest

from voxray.phantom.chest import Chest, Grid, draw_chest, lung_depth_mm
from voxray.phantom.fissures import DEPTH, HEIGHT, Fissure, draw_fissures, paint_fissure, points_on
from voxray.phantom.trees import Trees, Tubes, draw_trees, paint_trees

NONE = Tubes(np.empty((0, 2, 3)), np.empty(0))
GRID = Grid((128, 128, 60), (0.7, 0.7, 1.5))


@pytest.fixture(scope="module")
def chest() -> Chest:
    return draw_chest(np.random.default_rng(0), GRID)


@pytest.fixture(scope="module")
def trees(chest: Chest) -> Trees:
    return draw_trees(np.random.default_rng(1), chest)


def paint(grid: Grid, trees: Trees) -> np.ndarray:
    voxels = np.full(grid.shape[::-1], -850, np.int16)
    paint_trees(np.random.default_rng(0), voxels, grid, trees)
    return voxels


def test_a_vessel_divides_into_branches_whose_cubed_radii_add_up_to_its_own(trees: Trees) -> None:
    starts, ends = trees.vessels.ends_mm[:, 0], trees.vessels.ends_mm[:, 1]
    forks = 0
    for end, radius in zip(ends, trees.vessels.radii_mm, strict=True):
        branches = trees.vessels.radii_mm[(starts == end).all(axis=1)]
        if len(branches):
            assert (branches**3).sum() == pytest.approx(radius**3)
            forks += len(branches) > 1
    assert forks > 10


def test_vessels_lead_to_places_all_over_both_lungs(chest: Chest, trees: Trees) -> None:
    ends = trees.vessels.ends_mm[:, 1]
    assert (lung_depth_mm(chest, *ends.T) > 0).all()
    for side in (-1, 1):
        own = ends[side * ends[:, 0] > 0]
        assert (np.ptp(own, axis=0) > 1.2 * np.array(chest.lung_mm)).all()


@pytest.mark.parametrize("slice_mm", [0.6, 3.0])
def test_a_tube_has_its_volume_in_slices_of_any_thickness(slice_mm: float) -> None:
    grid = Grid((80, 80, round(48 / slice_mm)), (0.6, 0.6, slice_mm))
    ends = np.array([[[-12.0, -8.0, -9.0], [10.0, 5.0, 12.0]]])
    voxels = paint(grid, Trees(Tubes(ends, np.array([2.0])), NONE, np.empty((0, 3)), np.empty((0, 3))))
    share = (voxels + 850.0) / (voxels.max() + 850.0)
    length = float(np.linalg.norm(ends[0, 1] - ends[0, 0]))
    capsule = np.pi * 2.0**2 * length + 4 / 3 * np.pi * 2.0**3
    assert share.sum() * 0.6 * 0.6 * slice_mm == pytest.approx(capsule, rel=0.08)


def test_an_airway_is_dark_inside_and_has_a_wall() -> None:
    ends = np.array([[[0.0, 0.0, -30.0], [0.0, 0.0, 30.0]]])
    voxels = paint(GRID, Trees(NONE, Tubes(ends, np.array([3.0])), np.empty((0, 3)), np.empty((0, 3))))
    line = voxels[30, 64, 64:]  # outward from the middle
    assert line[:3].max() < -900
    assert line[4:7].max() > -300
    assert (line[12:] == -850).all()


@pytest.mark.parametrize(("axis", "slope"), [(DEPTH, 0.0), (DEPTH, 0.8), (HEIGHT, 0.0)])
@pytest.mark.parametrize("slice_mm", [0.6, 3.0])
def test_a_fissure_is_as_dense_as_a_sheet_of_its_thickness(axis: int, slope: float, slice_mm: float) -> None:
    grid = Grid((128, 128, round(90 / slice_mm)), (0.7, 0.7, slice_mm))
    chest = draw_chest(np.random.default_rng(0), grid)
    voxels = np.full(grid.shape[::-1], -850, np.int16)
    paint_fissure(voxels, grid, chest, Fissure(-1.0, axis, 0.5, (0.0, slope), 0.0, 0.3))
    x = int(grid.index_of(np.array([-chest.lung_center_mm[0], 0, 0]))[0])
    away = 100 if axis == DEPTH else 10
    column = voxels[len(voxels) // 2, :, x] if axis == DEPTH else voxels[:, 64, x]
    crossed = ((column + 850.0) / (40.0 + 850.0)).sum() * grid.spacing_mm[axis]
    assert crossed == pytest.approx(0.3 * np.hypot(1, slope), rel=0.05)
    assert (column[away:] == -850).all() or axis == HEIGHT
    assert (voxels[:, :, 64:] == -850).all()  # of the other lung


def test_each_lung_has_an_oblique_fissure_and_the_right_one_a_second(chest: Chest) -> None:
    fissures = draw_fissures(np.random.default_rng(3), chest)
    assert [(fissure.side, fissure.axis) for fissure in fissures] == [(-1, DEPTH), (1, DEPTH), (-1, HEIGHT)]
    for fissure in fissures:
        points = points_on(np.random.default_rng(0), chest, fissure, 20)
        assert len(points) > 5
        assert (lung_depth_mm(chest, *points.T) > 0).all()
        assert (np.sign(points[:, 0]) == fissure.side).all()
