import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from voxray.loader.standardize import clip_between, clip_percentiles, standardize_by, standardize_planes
from voxray.scans.intensity import volume_statistics


def batch(seed: int = 0, low: int = -300, high: int = 900) -> np.ndarray:
    """Two images of two channels with a constant plane and an empty channel."""
    images = np.random.default_rng(seed).integers(low, high, (2, 2, 6, 5, 4)).astype(np.int16)
    images[0, 0, :, :, 1] = 777
    images[1, 1] = 0
    images[:, :, :2, :2] = 0
    return images


def valid_of(seed: int = 0) -> np.ndarray:
    """A padded border, another one for each image."""
    valid = np.zeros((2, 1, 6, 5, 4), bool)
    valid[0, :, 1:5, :, :3] = True
    valid[1, :, :, 2:, 1:] = True
    return valid


def plain(images: np.ndarray, inside: np.ndarray, planes: bool) -> np.ndarray:
    """The same with numpy, image by image."""
    result = np.zeros(images.shape)
    for n, c in np.ndindex(images.shape[:2]):
        for z in range(images.shape[4]) if planes else [slice(None)]:
            where = inside[n, c, :, :, z]
            voxels = images[n, c, :, :, z][where].astype(float)
            if voxels.size and voxels.std() > 0:
                result[n, c, :, :, z][where] = (voxels - voxels.mean()) / voxels.std()
    return result


@pytest.mark.parametrize("dtype", [torch.int16, torch.float32])
@pytest.mark.parametrize("padded", [False, True])
def test_standardized_batches_are_those_of_numpy(dtype: torch.dtype, padded: bool) -> None:
    images, valid = batch(), valid_of()
    tensor, mask = torch.from_numpy(images).to(dtype), torch.from_numpy(valid) if padded else None
    inside = np.broadcast_to(valid if padded else True, images.shape)
    result = standardize_planes(tensor, mask)
    assert result.dtype == torch.float32
    np.testing.assert_allclose(result.numpy(), plain(images, inside, planes=True), atol=2e-5)
    np.testing.assert_array_equal(tensor.numpy(), images)


@given(value=st.floats(-1e6, 1e6, width=32), seed=st.integers(0, 3))
@settings(max_examples=60, deadline=None)
def test_a_constant_plane_becomes_exactly_zero(value: float, seed: int) -> None:
    images = torch.from_numpy(np.random.default_rng(seed).normal(0, 50, (1, 1, 7, 9, 3))).float()
    images[..., 1] = value
    result = standardize_planes(images)
    assert (result[..., 1] == 0).all()
    assert result[..., 0].std(correction=0).item() == pytest.approx(1, abs=1e-4)


def test_a_batch_without_a_valid_voxel_is_zero_and_no_nan() -> None:
    images, nothing = torch.from_numpy(batch()), torch.zeros((2, 1, 6, 5, 4), dtype=torch.bool)
    assert (standardize_planes(images, nothing) == 0).all()
    assert (clip_percentiles(images, 1, 99, nothing) == 0).all()


@pytest.mark.parametrize("ranks", [(0.5, 99.5), (0, 100), (10, 60)])
@pytest.mark.parametrize("padded", [False, True])
def test_clipping_to_percentiles_is_that_of_numpy(ranks: tuple[float, float], padded: bool) -> None:
    images, valid = batch(), valid_of()
    result = clip_percentiles(torch.from_numpy(images), *ranks, torch.from_numpy(valid) if padded else None)
    inside = np.broadcast_to(valid if padded else True, images.shape)
    for n, c in np.ndindex(2, 2):
        voxels = images[n, c][inside[n, c]]
        low, high = np.percentile(voxels, ranks)
        expected = np.zeros(images.shape[2:])
        if high > low:
            expected[inside[n, c]] = np.clip((voxels - low) / (high - low), 0, 1)
        np.testing.assert_allclose(result[n, c].numpy(), expected, atol=1e-5)


def test_patches_by_the_statistics_of_their_scans_are_cut_from_the_standardized_scan() -> None:
    images = batch()
    found = [volume_statistics(image, (5, 95)) for image in images]
    cut = (slice(None), slice(None), slice(1, 4), slice(2, 5), slice(0, 3))
    patches = torch.from_numpy(images[cut])

    def stacked(name: str) -> torch.Tensor:
        return torch.from_numpy(np.stack([getattr(each, name) for each in found]))

    whole = plain(images, np.ones(images.shape, bool), planes=False)
    result = standardize_by(patches, stacked("mean"), stacked("deviation"))
    np.testing.assert_allclose(result.numpy(), whole[cut], atol=2e-5)
    whole = plain(images, images != 0, planes=False)
    result = standardize_by(patches, stacked("nonzero_mean"), stacked("nonzero_deviation"), keep_zero=True)
    np.testing.assert_allclose(result.numpy(), whole[cut], atol=2e-5)
    low, high = stacked("percentiles").unbind(2)
    clipped = clip_percentiles(torch.from_numpy(images), 5, 95)
    torch.testing.assert_close(clip_between(patches, low, high), clipped[cut])


def test_padding_stays_zero_when_bounds_or_statistics_are_given() -> None:
    images, valid = torch.from_numpy(batch()), torch.from_numpy(valid_of())
    some = torch.full((2, 2), 5.0)
    outside = ~valid.expand_as(images)
    assert (standardize_by(images, some, some, valid)[outside] == 0).all()
    assert (clip_between(images, -some, some, valid)[outside] == 0).all()
