import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates, zoom

from voxray.errors import ScanError
from voxray.scans.geometry import canonical_volume, voxel_to_world, world_to_voxel
from voxray.scans.resample import resample, resample_like, resize
from voxray.volume import Volume

RNG = np.random.default_rng(0)
OBLIQUE = np.linalg.qr(np.random.default_rng(1).normal(size=(3, 3)))[0]
extents = st.tuples(*[st.integers(2, 11)] * 3)
spacings = st.tuples(*[st.floats(0.4, 4)] * 3)


def affine_of(spacing: tuple[float, ...], turn: np.ndarray = OBLIQUE) -> np.ndarray:
    affine = np.eye(4)
    affine[:3, :3] = turn * spacing
    affine[:3, 3] = [10, -20, 30]
    return affine


def volume_of(dtype: str = "float32", shape: tuple[int, int, int] = (9, 8, 7)) -> Volume:
    return Volume(RNG.integers(0, 200, (2, *shape)).astype(dtype), affine_of((1, 1.5, 2)))


def sampled_by_scipy(volume: Volume, grid: Volume, order: int) -> np.ndarray:
    """Values of `volume` at the world positions of the voxels of `grid`."""
    indices = np.stack(np.meshgrid(*map(np.arange, grid.shape), indexing="ij"), -1).reshape(-1, 3)
    places = world_to_voxel(volume.affine, voxel_to_world(grid.affine, indices.astype(float)))
    values = [map_coordinates(channel.astype(float), places.T, order=order, mode="nearest") for channel in volume.array]
    return np.stack(values).reshape(-1, *grid.shape)


@settings(max_examples=40, deadline=None)
@given(spacings)
def test_a_resampled_volume_has_the_values_of_its_world_positions(spacing: tuple[float, float, float]) -> None:
    volume = volume_of()
    result = resample(volume, spacing, order=1)
    np.testing.assert_allclose(result.array, sampled_by_scipy(volume, result, 1), atol=1e-3)
    assert result.array.dtype == np.float32


@settings(max_examples=60, deadline=None)
@given(spacings)
def test_spacing_is_kept_and_the_middle_stays_where_it_is(spacing: tuple[float, float, float]) -> None:
    volume = volume_of()
    result = resample(volume, spacing, order=0)
    np.testing.assert_allclose(result.spacing_mm, spacing, rtol=2e-4)
    middles = [voxel_to_world(each.affine, (np.array(each.shape)[None] - 1) / 2)[0] for each in (volume, result)]
    np.testing.assert_allclose(*middles, atol=1e-9)
    lost_mm = np.abs(np.array(volume.shape) * volume.spacing_mm - np.array(result.shape) * result.spacing_mm)
    assert (lost_mm <= np.array(result.spacing_mm) * (0.5 + 1e-3)).all() or 1 in result.shape


def test_a_linear_ramp_in_the_world_stays_one() -> None:
    volume = volume_of(shape=(20, 20, 20))
    indices = np.stack(np.meshgrid(*map(np.arange, volume.shape), indexing="ij"), -1)
    ramp = (voxel_to_world(volume.affine, indices.reshape(-1, 3)) @ [1.0, 2.0, -0.5]).reshape(1, 20, 20, 20)
    result = resample(Volume(ramp, volume.affine), (1.3, 1.7, 1.1), order=1)
    inner = np.stack(np.meshgrid(*(np.arange(1, n - 1) for n in result.shape), indexing="ij"), -1)
    expected = voxel_to_world(result.affine, inner.reshape(-1, 3)) @ [1.0, 2.0, -0.5]
    np.testing.assert_allclose(result.array[0, 1:-1, 1:-1, 1:-1].ravel(), expected, atol=1e-9)


def test_the_same_spacing_changes_nothing() -> None:
    volume = volume_of()
    assert resample(volume, (1, 1.5, 2), order=1) is volume
    assert resample(volume, (1.00001, 1.5, 2), order=0) is volume


@settings(max_examples=40, deadline=None)
@given(spacings, st.sampled_from(["uint8", "int16", "int32", "float32"]))
def test_masks_keep_their_values(spacing: tuple[float, float, float], dtype: str) -> None:
    mask = Volume(RNG.choice([0, 1, 4], (1, 9, 8, 7)).astype(dtype), affine_of((1, 1.5, 2)))
    result = resample(mask, spacing, order=0)
    assert result.array.dtype == dtype
    assert set(np.unique(result.array)) <= {0, 1, 4}


def test_integers_are_rounded_and_never_leave_their_range() -> None:
    volume = Volume(RNG.choice([0, 255], (1, 9, 8, 7)).astype(np.uint8), affine_of((1, 1.5, 2)))
    result = resample(volume, (0.6, 0.9, 1.1), order=1)
    assert result.array.dtype == np.uint8
    expected = sampled_by_scipy(volume, result, 1)
    assert np.abs(result.array - expected).max() <= 0.5 + 1e-4


def test_a_mask_that_was_made_finer_comes_back_as_it_was() -> None:
    mask = Volume(RNG.integers(0, 4, (1, 9, 8, 7)).astype(np.uint8), affine_of((1, 1.5, 2)))
    for spacing in ((0.5, 0.5, 0.5), (0.4, 0.7, 0.9), (1, 0.3, 2)):
        back = resample_like(resample(mask, spacing, order=0), mask, order=0)
        np.testing.assert_array_equal(back.array, mask.array)
        np.testing.assert_array_equal(back.affine, mask.affine)


@pytest.mark.parametrize("order", [0, 1])
@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, 1, -1)])
def test_a_prediction_goes_back_to_the_axes_of_its_file(
    order: int, axes: tuple[int, ...], signs: tuple[int, ...]
) -> None:
    turn = np.eye(3)[list(axes)].T * signs
    file = Volume(RNG.integers(0, 4, (1, 9, 8, 7)).astype(np.uint8), affine_of((1, 1.5, 2), turn))
    canonical = canonical_volume(file.array, file.affine)
    # Axes in another order and direction only: nothing may change.
    np.testing.assert_array_equal(resample_like(canonical, file, order).array, file.array)
    coarse = resample(canonical, (1.4, 1.9, 1.2), order)
    back = resample_like(Volume(coarse.array.astype(np.float32), coarse.affine), file, order)
    assert back.shape == file.shape
    if order:
        expected = sampled_by_scipy(coarse, file, order)
        np.testing.assert_allclose(back.array, expected, atol=1e-4)


def test_rounding_in_a_header_is_no_rotation_but_a_rotation_is() -> None:
    volume = volume_of()
    near = volume.affine + np.pad(RNG.uniform(-1e-5, 1e-5, (3, 4)), ((0, 1), (0, 0)))
    np.testing.assert_allclose(resample_like(volume, Volume(volume.array, near), 1).array, volume.array, atol=0.1)
    with pytest.raises(ScanError, match="axes are rotated against those of the reference"):
        resample_like(volume, Volume(volume.array, affine_of((1, 1.5, 2), np.eye(3))), 0)


def test_one_slice_stays_one_slice() -> None:
    volume = Volume(RNG.integers(0, 9, (1, 6, 6, 1)).astype(np.int16), affine_of((1, 1, 1)))
    assert resample(volume, (2, 2, 5), order=1).shape == (3, 3, 1)


def zoomed(volume: Volume, shape: tuple[int, ...]) -> np.ndarray:
    """What SciPy makes of a volume; at its edges `nearest`, because rounding may carry the last voxel over them."""
    factors = [new / old for new, old in zip(shape, volume.shape, strict=True)]
    return np.stack([zoom(channel.astype(float), factors, order=1, mode="nearest") for channel in volume.array])


@settings(max_examples=60, deadline=None)
@given(extents, extents, st.permutations([0, 1, 2]), st.tuples(*[st.sampled_from([1, -1])] * 3))
def test_resizing_is_scipys_linear_zoom_however_the_scan_lies_in_memory(
    old: tuple[int, int, int], new: tuple[int, int, int], axes: list[int], steps: tuple[int, int, int]
) -> None:
    stored = RNG.normal(size=(2, *(old[axis] for axis in axes))).astype(np.float32)
    turned = stored.transpose(0, *(1 + np.argsort(axes)))
    volume = Volume(turned[:, :: steps[0], :: steps[1], :: steps[2]], affine_of((1, 1.5, 2)))
    result = resize(volume, new, "a")
    assert result.shape == new
    np.testing.assert_allclose(result.array, zoomed(volume, new), atol=1e-5)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "int32"])
def test_resized_integers_are_rounded_to_the_nearest(dtype: str) -> None:
    volume = volume_of(dtype)
    result = resize(volume, (5, 13, 4), "a")
    assert result.array.dtype == dtype
    assert np.abs(result.array - zoomed(volume, (5, 13, 4))).max() <= 0.5 + 1e-4


def test_slabs_of_a_large_scan_fit_together() -> None:
    volume = Volume(np.asfortranarray(RNG.normal(size=(1, 400, 300, 12)).astype(np.float32)), np.eye(4))
    for shape in ((100, 400, 20), (401, 299, 5)):
        np.testing.assert_allclose(resize(volume, shape, "a").array, zoomed(volume, shape), atol=1e-5)


@given(extents, extents)
def test_resizing_keeps_the_outermost_voxels_where_they_are_in_the_world(
    old: tuple[int, int, int], new: tuple[int, int, int]
) -> None:
    volume = volume_of(shape=old)
    result = resize(volume, new, "a")
    for corner in np.ndindex(2, 2, 2):
        before, after = (
            voxel_to_world(each.affine, np.array([corner]) * (np.array(each.shape) - 1.0)) for each in (volume, result)
        )
        np.testing.assert_allclose(before, after, atol=1e-9)
        ends = tuple(-1 if far else 0 for far in corner)
        np.testing.assert_allclose(result.array[(0, *ends)], volume.array[(0, *ends)], atol=1e-3)


def test_an_axis_that_shrinks_to_one_voxel_keeps_the_middle() -> None:
    volume = volume_of(shape=(6, 6, 5))
    result = resize(volume, (6, 6, 1), "a")
    np.testing.assert_array_equal(result.array[..., 0], volume.array[..., 2])
    middles = [voxel_to_world(each.affine, (np.array(each.shape)[None] - 1) / 2)[0] for each in (volume, result)]
    np.testing.assert_allclose(*middles, atol=1e-9)


def test_one_slice_is_not_stretched_to_several() -> None:
    with pytest.raises(ScanError, match="a: has one voxel along z, which cannot be stretched to 4"):
        resize(volume_of(shape=(6, 6, 1)), (6, 6, 4), "a")
    assert resize(volume_of(shape=(6, 6, 1)), (3, 3, 1), "a").shape == (3, 3, 1)


@pytest.mark.parametrize("spacing_mm", [(1e-3, 1.0, 1.0), (1e-3, 1e-3, 1e-3), (1e-300, 1e-300, 1e-300)])
def test_a_volume_that_would_become_larger_than_any_scan_is_refused_before_memory_is_taken(
    spacing_mm: tuple[float, float, float],
) -> None:
    volume = Volume(np.broadcast_to(np.uint8(0), (1, 700, 700, 700)), np.diag([30.0, 30, 30, 1]))
    with pytest.raises(ScanError, match=r"a\.nii: has a spacing of 30 x 30 x 30 mm; resampled to .* it would have"):
        resample(volume, spacing_mm, 1, "a.nii")


def test_a_volume_that_this_machine_cannot_hold_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("voxray.scans.resample.machine_memory", lambda: 2**20)
    volume = volume_of()
    assert resample(volume, (0.5, 0.5, 0.5), 1).shape == (18, 24, 28)
    with pytest.raises(ScanError, match=r"a\.nii: would take .* once it is resampled, this machine has"):
        resample(volume, (0.1, 0.3, 0.5), 1, "a.nii")
