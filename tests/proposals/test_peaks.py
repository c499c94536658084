import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from voxray.proposals.peaks import find_peaks
from voxray.scans.spheres import paint_spheres
from voxray.volume import Volume

SPHERES = np.array([(-14.0, 3.0, 2.0), (12.0, -8.0, 6.0), (10.0, 14.0, -12.0)])
DIAMETERS = np.array([5.0, 8.0, 14.0])


def map_of(
    centers: np.ndarray, diameters: np.ndarray, spacing: float = 1.25, blur: float = 0.0, height: float = 1.0
) -> Volume:
    """What a network makes of spheres around the world's origin: they are certain, or blurred."""
    shape = (round(60 / spacing),) * 3
    affine = np.diag([spacing, spacing, spacing, 1.0])
    affine[:3, 3] = -spacing * (np.array(shape) - 1) / 2
    painted = paint_spheres(shape, affine, centers, diameters).astype(np.float32)
    return Volume(height * ndimage.gaussian_filter(painted, blur)[None], affine)


def everywhere(volume: Volume) -> Volume:
    return Volume(np.ones((1, *volume.shape), bool), volume.affine)


@pytest.mark.parametrize("blur", [0.0, 0.8])
@pytest.mark.parametrize("spacing", [1.0, 1.5])
def test_maxima_are_where_spheres_are_and_nowhere_else(spacing: float, blur: float) -> None:
    volume = map_of(SPHERES, DIAMETERS, spacing, blur)
    peaks = find_peaks(volume, everywhere(volume), 100)
    assert len(peaks) == len(SPHERES)
    for center, diameter in zip(SPHERES, DIAMETERS, strict=True):
        distances = np.linalg.norm(peaks.centers_mm - center, axis=1)
        assert distances.min() < 0.6 * spacing
        assert peaks.diameters_mm[distances.argmin()] == pytest.approx(diameter, abs=1.5 * spacing)


@settings(max_examples=25)
@given(st.tuples(*[st.floats(-20, 20)] * 3), st.floats(4, 25), st.floats(0.1, 1))
def test_a_sphere_of_equal_probability_has_one_maximum(
    center: tuple[float, float, float], diameter: float, height: float
) -> None:
    volume = map_of(np.array([center]), np.array([diameter]), height=height)
    peaks = find_peaks(volume, everywhere(volume), 100)
    assert len(peaks) == 1
    assert np.linalg.norm(peaks.centers_mm[0] - center) < max(1.25, diameter / 10)


def test_the_most_probable_come_first_and_no_more_than_asked_for() -> None:
    maps = [map_of(SPHERES[[n]], DIAMETERS[[n]], height=height).array for n, height in enumerate((0.9, 0.3, 0.6))]
    volume = Volume(sum(maps[1:], start=maps[0]), map_of(SPHERES, DIAMETERS).affine)
    peaks = find_peaks(volume, everywhere(volume), 2)
    assert len(peaks) == 2
    np.testing.assert_allclose(peaks.centers_mm, SPHERES[[0, 2]], atol=1.25)
    assert peaks.strengths[0] > peaks.strengths[1]


def test_maxima_lie_in_the_region() -> None:
    volume = map_of(SPHERES, DIAMETERS)
    region = everywhere(volume)
    region.array[0, : volume.shape[0] // 2] = False
    np.testing.assert_allclose(sorted(find_peaks(volume, region, 9).centers_mm[:, 0]), [10, 12], atol=1.25)


def test_spheres_that_touch_are_two() -> None:
    pair = np.array([(-4.5, 0.0, 0.0), (4.5, 0.0, 0.0)])
    volume = map_of(pair, np.array([8.0, 8.0]), 1.0, blur=0.7)
    assert len(find_peaks(volume, everywhere(volume), 9)) == 2


def test_what_is_improbable_is_no_candidate() -> None:
    volume = map_of(SPHERES, DIAMETERS, height=0.01)
    assert len(find_peaks(volume, everywhere(volume), 9)) == 0
