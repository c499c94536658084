import numpy as np
import pytest
from chests import chest

from voxray.proposals.blobs import _smallest_curvatures, find_blobs
from voxray.proposals.lungs import find_lungs
from voxray.volume import Volume

NODULES = [((40.0, 5.0, 10.0), 5.0), ((-50.0, -10.0, -20.0), 9.0), ((-40.0, 20.0, 15.0), 18.0)]


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.7, 0.7, 2.5)])
def test_nodules_are_the_first_blobs_at_their_centers_and_of_their_size(spacing: tuple[float, float, float]) -> None:
    volume = chest(NODULES, spacing)
    blobs = find_blobs(volume, find_lungs(volume), 20)
    for center, diameter in NODULES:
        distances = np.linalg.norm(blobs.centers_mm - center, axis=1)
        found = int(distances.argmin())
        assert distances[found] < 2
        assert diameter / 1.7 < blobs.diameters_mm[found] < 1.7 * diameter


def test_a_nodule_at_the_wall_is_found() -> None:
    at_wall = ((72.0, 0.0, 0.0), 10.0)
    volume = chest([at_wall], (1.0, 1.0, 1.0))
    blobs = find_blobs(volume, find_lungs(volume), 50)
    assert np.linalg.norm(blobs.centers_mm - at_wall[0], axis=1).min() < 5


def test_blobs_lie_in_the_region_and_none_within_its_own_and_an_earlier_ones_radius() -> None:
    rng = np.random.default_rng(0)
    volume = chest(NODULES, (1.5, 1.5, 1.5))
    noisy = Volume(volume.array + rng.normal(0, 60, volume.array.shape).astype(np.int16), volume.affine)
    region = Volume(np.zeros((1, *volume.shape), bool), volume.affine)
    region.array[0, :60] = True
    blobs = find_blobs(noisy, region, 300)
    assert 20 < len(blobs) <= 300
    assert (blobs.centers_mm[:, 0] <= volume.affine[0, 3] + 60 * 1.5).all()
    for number in range(1, len(blobs)):
        apart = np.linalg.norm(blobs.centers_mm[:number] - blobs.centers_mm[number], axis=1)
        assert (apart > np.minimum(blobs.diameters_mm[:number], blobs.diameters_mm[number]) / 2).all()


def test_nodules_close_together_are_found_beside_the_blob_that_they_make_together() -> None:
    cluster = [((45.0 + x, float(y), 0.0), 5.0) for x, y in ((7, 0), (-7, 0), (0, 7), (0, -7))]
    volume = chest(cluster, (1.0, 1.0, 1.0))
    blobs = find_blobs(volume, find_lungs(volume), 50)
    for center, _ in cluster:
        assert np.linalg.norm(blobs.centers_mm - center, axis=1).min() < 2


def test_an_empty_region_has_no_blobs() -> None:
    volume = chest(NODULES)
    assert len(find_blobs(volume, Volume(np.zeros((1, 5, 5, 5), bool), np.eye(4)), 10)) == 0


def test_blobs_do_not_depend_on_the_axes_of_the_grid_of_the_region() -> None:
    volume = chest(NODULES, (1.0, 1.0, 1.0))
    fine = Volume(np.ones((1, *volume.shape), bool), volume.affine)
    coarse = Volume(fine.array[:, ::2, ::2, ::2], volume.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    first, second = find_blobs(volume, fine, 3), find_blobs(volume, coarse, 3)
    np.testing.assert_allclose(first.centers_mm, second.centers_mm)


def test_a_sphere_comes_before_a_vessel_and_a_wall_that_are_brighter() -> None:
    x, y, z = np.meshgrid(*(np.arange(-30.0, 31),) * 3, indexing="ij")
    voxels = np.full(x.shape, -850.0)
    voxels[(x - 15) ** 2 + (y - 15) ** 2 < 3**2] = 200  # a vessel along z
    voxels[np.abs(x + 22) < 3] = 200  # a sheet
    voxels[(x - 5) ** 2 + (y + 12) ** 2 + (z - 4) ** 2 < 3**2] = -300  # a faint nodule
    volume = Volume(voxels.astype(np.float32)[None], np.diag([1.0, 1.0, 1.0, 1.0]))
    first = find_blobs(volume, Volume(np.ones((1, *x.shape), bool), volume.affine), 1)
    np.testing.assert_allclose(first.centers_mm, [[35, 18, 34]], atol=1)


def test_the_smallest_curvature_is_that_of_a_quadratic_form() -> None:
    rng = np.random.default_rng(0)
    form = rng.normal(size=(3, 3))
    form = form + form.T
    grid = np.stack(np.meshgrid(*(np.arange(-3.0, 4),) * 3, indexing="ij"), -1)
    values = -np.einsum("...i,ij,...j", grid, form, grid) / 2
    expected = np.linalg.eigvalsh(form).min()
    np.testing.assert_allclose(_smallest_curvatures(values, np.array([[3, 3, 3], [1, 4, 2]])), expected)
