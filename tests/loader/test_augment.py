import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform, gaussian_filter, map_coordinates, rotate

from voxray.config.preprocessing import AugmentSpec
from voxray.loader.augment import change_batch, draw_changes, rotate_stored
from voxray.loader.normalize import scale_window

SIZE = (12, 12, 3)


def images(count: int) -> torch.Tensor:
    return torch.rand(count, 1, *SIZE, generator=torch.Generator().manual_seed(0))


def changed(spec: AugmentSpec, count: int = 64, key: tuple[int, ...] = (0, 1, 2)) -> torch.Tensor:
    return change_batch(images(count), None, draw_changes(spec, key, count, np.arange(count), SIZE), True)[0]


def test_the_window_is_clipped_and_scaled_to_one() -> None:
    hu = torch.tensor([-2000, -1000, -300, 400, 3000], dtype=torch.int16)
    np.testing.assert_allclose(scale_window(hu, [(-1000, 400)]), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
def test_stored_rotations_are_numpys_in_plane(degrees: int) -> None:
    before = images(3)
    after = rotate_stored(before.clone(), torch.tensor([0, degrees, 0]))
    expected = np.rot90(before[1].numpy(), degrees // 90, axes=(1, 2))
    np.testing.assert_array_equal(after[1], expected)
    assert torch.equal(after[0], before[0])
    assert torch.equal(after[2], before[2])


def test_no_augmentation_changes_nothing() -> None:
    assert torch.equal(changed(AugmentSpec()), images(64))


def test_each_channel_may_have_a_window_of_its_own() -> None:
    both = torch.tensor([[[-1000, -300, 400], [0, 1, 2]]], dtype=torch.int16)
    scaled = scale_window(both, [(-1000, 400), (0, 2)])
    np.testing.assert_allclose(scaled, [[[0, 0.5, 1], [0, 0.5, 1]]])


@pytest.mark.parametrize("axis", ["x", "y", "z"])
def test_about_half_of_the_patches_are_flipped_and_the_others_are_not(axis: str) -> None:
    before, after = images(64), changed(AugmentSpec(flip=(axis,)))  # type: ignore[arg-type]
    flipped = before.flip(2 + "xyz".index(axis))
    same = [torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    turned = [torch.equal(a, b) for a, b in zip(after, flipped, strict=True)]
    assert all(a != b for a, b in zip(same, turned, strict=True))
    assert 16 < sum(turned) < 48


def test_quarter_turns_give_all_four_positions() -> None:
    before, after = images(64), changed(AugmentSpec(rotate90=True))
    found = [
        next(k for k in range(4) if torch.equal(torch.rot90(b, k, (1, 2)), a))
        for a, b in zip(after, before, strict=True)
    ]
    assert set(found) == {0, 1, 2, 3}


def test_a_random_rotation_is_that_of_scipy() -> None:
    spec = AugmentSpec(rotate_range=40, scale=0.2, shift_voxels=2)
    before = images(4)
    changes = draw_changes(spec, (0, 0, 0), 4, np.arange(4), SIZE)
    after, _ = change_batch(before.clone(), None, changes, True)
    assert changes.affine is not None
    for number, theta in enumerate(changes.affine.double().numpy()):
        # affine_grid's first coordinate is the last axis; centers of voxels are at (2i + 1) / n - 1.
        linear = theta[::-1, 1::-1]
        center = (np.array(SIZE[:2]) - 1) / 2
        offset = center - linear @ center + theta[::-1, 2] * np.array(SIZE[:2]) / 2
        for z in range(SIZE[2]):
            expected = affine_transform(before[number, 0, :, :, z].double(), linear, offset, order=1, mode="nearest")
            np.testing.assert_allclose(after[number, 0, :, :, z], expected, atol=1e-5)


def test_a_random_rotation_in_space_is_that_of_scipy_and_keeps_distances() -> None:
    size = (9, 12, 7)
    spec = AugmentSpec(dimensions=3, rotate_range=40, shift_voxels=2)
    before = torch.rand((4, 1, *size), generator=torch.Generator().manual_seed(0))
    changes = draw_changes(spec, (0, 0, 0), 4, np.arange(4), size)
    after, _ = change_batch(before.clone(), None, changes, True)
    assert changes.affine is not None
    for number, theta in enumerate(changes.affine.double().numpy()):
        extent = np.array(size)
        linear = theta[::-1, 2::-1] * extent[:, None] / extent  # from normalized coordinates to voxels
        np.testing.assert_allclose(linear @ linear.T, np.eye(3), atol=1e-6)
        assert abs(linear[2, :2]).max() > 0.01  # out of plane
        center = (extent - 1) / 2
        offset = center - linear @ center + theta[::-1, 3] * extent / 2
        expected = affine_transform(before[number, 0].double(), linear, offset, order=1, mode="nearest")
        np.testing.assert_allclose(after[number, 0], expected, atol=1e-5)


def test_an_elastic_change_in_space_moves_voxels_by_less_than_it_may() -> None:
    spec = AugmentSpec(dimensions=3, elastic_voxels=1.5)
    ramps = torch.stack(torch.meshgrid(*[torch.arange(16.0)] * 3, indexing="ij"))[None].repeat(4, 1, 1, 1, 1)
    after, _ = change_batch(ramps.clone(), None, draw_changes(spec, (0, 0, 0), 4, np.arange(4), (16, 16, 16)), False)
    moved = (after - ramps).abs().amax((0, 2, 3, 4))
    assert (moved <= 1.5 + 1e-4).all()
    assert (moved > 0.3).all()


def test_a_rotation_by_one_of_some_angles_is_that_of_scipy_and_each_angle_occurs() -> None:
    angles = (-20.0, -5.0, 90.0)
    before, after = images(24), changed(AugmentSpec(rotate_choices=angles), 24)
    rotated = [
        np.stack([rotate(each, angle, axes=(2, 1), reshape=False, order=1, mode="nearest") for each in before.numpy()])
        for angle in angles
    ]
    found = [
        [np.allclose(one[number], after[number], atol=1e-4) for one in rotated].index(True) for number in range(24)
    ]
    assert set(found) == {0, 1, 2}
    assert after.min() >= 0
    assert after.max() <= 1
    np.testing.assert_allclose(rotate_stored(before.clone(), torch.full((24,), 90)), rotated[2], atol=1e-5)


def test_intensity_changes_stay_in_range_and_keep_the_order_of_voxels() -> None:
    before, after = images(8), changed(AugmentSpec(brightness=0.2, contrast=0.3), 8)
    assert after.min() >= 0
    assert after.max() <= 1
    assert not torch.equal(before, after)
    for a, b in zip(after.flatten(1), before.flatten(1), strict=True):
        inside = (a > 0) & (a < 1)
        assert torch.equal(a[inside].argsort(), b[inside].argsort())


def test_a_patch_is_changed_alike_whichever_rank_it_is_on() -> None:
    spec = AugmentSpec(
        flip=("x", "y"),
        rotate90=True,
        rotate_range=20,
        elastic_voxels=2,
        contrast=0.1,
        gamma=0.3,
        gamma_inverted=0.5,
        noise=0.1,
        blur_voxels=1,
        low_resolution=0.5,
    )
    together = changed(spec, 10)
    halves = [
        change_batch(images(10)[part], None, draw_changes(spec, (0, 1, 2), 10, part, SIZE), True)[0]
        for part in (np.arange(0, 4), np.arange(4, 10))
    ]
    torch.testing.assert_close(torch.cat(halves), together)


def test_each_step_has_changes_of_its_own() -> None:
    spec = AugmentSpec(rotate_range=20)
    assert not torch.equal(changed(spec, key=(0, 1, 2)), changed(spec, key=(0, 1, 3)))


def test_masks_follow_the_image_at_the_nearest_voxel() -> None:
    spec = AugmentSpec(flip=("x", "y", "z"), rotate90=True, rotate_range=30, scale=0.2, elastic_voxels=1)
    masks = (images(16) > 0.5).to(torch.uint8) * 3
    changes = draw_changes(spec, (0, 1, 2), 16, np.arange(16), SIZE)
    picture, moved = change_batch(masks.float(), masks.clone(), changes, False)
    assert moved is not None
    assert moved.dtype == torch.uint8
    assert set(moved.unique().tolist()) == {0, 3}
    # Where interpolation is nearly sure, the nearest voxel says the same.
    sure = (picture < 0.3) | (picture > 2.7)
    assert sure.float().mean() > 0.2
    assert (moved[sure].float() - picture[sure]).abs().max() <= 0.3 + 1e-4


def test_gamma_keeps_the_range_and_blur_keeps_the_mean_of_the_middle() -> None:
    before = images(8)
    after = changed(AugmentSpec(gamma=0.5), 8)
    for one, other in zip(before, after, strict=True):
        torch.testing.assert_close(one.min(), other.min())
        torch.testing.assert_close(one.max(), other.max())
    spec = AugmentSpec(blur_voxels=1.5)
    blurred = changed(spec, 8)
    assert (blurred.std((1, 2, 3, 4)) <= before.std((1, 2, 3, 4)) + 1e-6).all()
    sigma = draw_changes(spec, (0, 1, 2), 8, np.arange(8), SIZE).blur
    expected = gaussian_filter(
        before[0, 0, :, :, 0].numpy(), float(sigma[0]), truncate=4.5 / float(sigma[0]), mode="nearest"
    )
    np.testing.assert_allclose(blurred[0, 0, :, :, 0], expected, atol=2e-3)


def test_noise_has_the_deviation_that_was_drawn() -> None:
    spec = AugmentSpec(noise=0.2)
    changes = draw_changes(spec, (0, 1, 2), 64, np.arange(64), SIZE)
    flat = torch.full((64, 1, *SIZE), 0.5)
    noisy, _ = change_batch(flat, None, changes, False)
    ratio = (noisy - 0.5).flatten(1).std(1) / changes.noise
    assert ratio.mean() == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("dimensions", [2, 3])
def test_a_low_resolution_is_that_of_numpy_and_scipy_and_acts_on_its_share_of_the_patches(dimensions: int) -> None:
    size = (11, 9, 8)
    before = torch.rand((60, 2, *size), generator=torch.Generator().manual_seed(0))
    spec = AugmentSpec(dimensions=dimensions, low_resolution=0.4)  # type: ignore[arg-type]
    changes = draw_changes(spec, (0, 1, 2), 60, np.arange(60), size)
    after, _ = change_batch(before.clone(), None, changes, False)
    reduced = [not torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert 12 < sum(reduced) < 36
    for one, other, coarse in zip(before.numpy(), after.numpy(), changes.coarse.tolist(), strict=True):
        assert all(size[axis] / 2 - 1 <= coarse[axis] <= size[axis] for axis in range(3))
        assert dimensions == 3 or coarse[2] == size[2]
        nearest = [np.floor((np.arange(m) + 0.5) * n / m).astype(int) for n, m in zip(size, coarse, strict=True)]
        positions = [(np.arange(n) + 0.5) * m / n - 0.5 for n, m in zip(size, coarse, strict=True)]
        for channel in range(2):
            small = one[channel][np.ix_(*nearest)]
            expected = map_coordinates(small, np.meshgrid(*positions, indexing="ij"), order=1, mode="nearest")
            np.testing.assert_allclose(other[channel], expected, atol=1e-5)


def test_an_inverted_gamma_is_the_gamma_of_the_inverted_image() -> None:
    before, spec = images(32) * 3 - 1, AugmentSpec(gamma=0.5, gamma_inverted=0.5)
    changes = draw_changes(spec, (0, 1, 2), 32, np.arange(32), SIZE)
    after, _ = change_batch(before.clone(), None, changes, False)
    assert 5 < int(changes.inverted.sum()) < 27
    for one, other, gamma, inverted in zip(
        before.numpy(), after.numpy(), changes.gamma.tolist(), changes.inverted.tolist(), strict=True
    ):
        sign = -1 if inverted else 1
        image = sign * one.astype(np.float64)
        low, high = image.min(), image.max()
        expected = sign * (((image - low) / (high - low)) ** gamma * (high - low) + low)
        np.testing.assert_allclose(other, expected, atol=1e-4)


def test_low_resolution_and_inversion_leave_all_other_draws_as_they_are() -> None:
    plain = AugmentSpec(dimensions=3, rotate_range=20, elastic_voxels=1, gamma=0.2, noise=0.1)
    more = plain.model_copy(update={"low_resolution": 0.5, "gamma_inverted": 0.5})
    one, other = (draw_changes(spec, (0, 1, 2), 8, np.arange(8), SIZE) for spec in (plain, more))
    for name in ("affine", "displacement", "gamma", "noise"):
        assert torch.equal(getattr(one, name), getattr(other, name))
