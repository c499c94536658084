import numpy as np
import pytest

from voxray.scans.intensity import clip_voxels, volume_statistics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_statistics_of_a_volume_are_those_of_numpy(dtype: str, order: str) -> None:
    low = 0 if dtype.startswith("u") else -40
    voxels = np.asarray(RNG.integers(low, 200, (2, 9, 8, 7)).astype(dtype), order=order)  # type: ignore[call-overload]
    voxels[:, :4] = 0
    ranks = (0, 0.5, 12.3, 50, 99.5, 100)
    found = volume_statistics(voxels, ranks)
    some = [channel[channel != 0].astype(float) for channel in voxels]
    np.testing.assert_allclose(found.mean, voxels.mean(axis=(1, 2, 3), dtype=float))
    np.testing.assert_allclose(found.deviation, voxels.std(axis=(1, 2, 3), dtype=float))
    np.testing.assert_allclose(found.nonzero_mean, [each.mean() for each in some])
    np.testing.assert_allclose(found.nonzero_deviation, [each.std() for each in some])
    np.testing.assert_allclose(found.percentiles, np.percentile(voxels, ranks, axis=(1, 2, 3)).T, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["int16", "float32"])
def test_an_empty_channel_has_statistics_of_zero(dtype: str) -> None:
    found = volume_statistics(np.zeros((1, 3, 3, 3), dtype))
    assert (found.mean, found.deviation, found.nonzero_mean, found.nonzero_deviation) == (0, 0, 0, 0)
    assert (found.percentiles == 0).all()


def test_clipping_keeps_the_dtype_and_rounds_the_ends_of_integers_inwards() -> None:
    values = np.arange(-4, 4, dtype=np.int16).reshape(2, 2, 2, 1)
    clipped = clip_voxels(values, [(-2.5, 1.5)])
    assert clipped.dtype == np.int16
    assert clipped.ravel().tolist() == [-2, -2, -2, -1, 0, 1, 1, 1]
    assert clip_voxels(values, [(-3, 0), (2, 9)]).ravel().tolist() == [-3, -3, -2, -1, 2, 2, 2, 3]
    assert clip_voxels(values.astype(np.uint8), [(-1000, 3)]).max() == 3
    np.testing.assert_array_equal(clip_voxels(values / 2, [(-0.7, 0.7)]), np.clip(values / 2, -0.7, 0.7))
