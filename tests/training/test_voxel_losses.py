import warnings
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from voxray.errors import ConfigError
from voxray.training.losses import LOSSES, find_loss
from voxray.training.losses.base import Loss, foreground, local_loss, nearest_voxels, supervision_weights
from voxray.training.losses.cross_entropy import cross_entropy
from voxray.training.losses.dice import soft_dice
from voxray.training.losses.focal import focal

SHAPE = (4, 6, 5, 7)
CLASSES = 4  # background included


def case(output: str, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Random logits, labels and a mask that hides some of each patch."""
    generator = torch.Generator().manual_seed(seed)
    channels = CLASSES - (output == "sigmoid")
    logits = 2 * torch.randn(SHAPE[0], channels, *SHAPE[1:], generator=generator)
    labels = torch.randint(0, CLASSES, SHAPE, generator=generator)
    mask = torch.ones(SHAPE[0], 1, *SHAPE[1:], dtype=torch.bool)
    mask[1:, :, 4:], mask[2:, :, :, :2] = False, False
    return logits, labels, mask


@pytest.fixture(scope="module")
def monai() -> Any:
    """MONAI's losses; importing them warns of what is deprecated in there."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("monai")
        import monai.losses

        return monai.losses


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_soft_dice_is_that_of_monai(output: str, monai: Any) -> None:
    logits, labels, _ = case(output)
    settings = {"squared_pred": True, "smooth_nr": 1e-5, "smooth_dr": 1e-5}
    if output == "sigmoid":
        theirs = monai.DiceLoss(sigmoid=True, **settings)(logits, foreground(labels, 3).float())
    else:
        settings.update(softmax=True, to_onehot_y=True, include_background=False)
        theirs = monai.DiceLoss(**settings)(logits, labels[:, None])
    torch.testing.assert_close(soft_dice(logits, labels, None, output).mean(), theirs)


def test_dice_with_cross_entropy_is_that_of_monai(monai: Any) -> None:
    logits, labels, _ = case("softmax")
    settings = {"softmax": True, "to_onehot_y": True, "include_background": False, "squared_pred": True}
    theirs = monai.DiceCELoss(**settings, smooth_nr=1e-5, smooth_dr=1e-5)(logits, labels[:, None])
    ours = local_loss(LOSSES["dice_cross_entropy"], logits, labels, None, len(labels), output="softmax")
    torch.testing.assert_close(ours, theirs)


def test_focal_is_that_of_monai(monai: Any) -> None:
    logits, labels, _ = case("sigmoid")
    theirs = monai.FocalLoss(gamma=2.0)(logits, foreground(labels, 3).float())
    torch.testing.assert_close(focal(logits, labels, None, "sigmoid").mean(), theirs)
    logits, labels, _ = case("softmax")
    # MONAI's mean counts the channels too, of which only the true one adds anything.
    theirs = CLASSES * monai.FocalLoss(gamma=2.0, use_softmax=True, to_onehot_y=True)(logits, labels[:, None])
    torch.testing.assert_close(focal(logits, labels, None, "softmax").mean(), theirs)


def test_soft_dice_inside_a_mask_is_the_published_formula_over_what_the_mask_leaves() -> None:
    logits, labels, mask = case("sigmoid")
    mine = soft_dice(logits, labels, mask, "sigmoid").double().numpy()
    for patch in range(SHAPE[0]):
        inside = mask[patch, 0].numpy()
        dice = []
        for channel in range(CLASSES - 1):
            p = 1 / (1 + np.exp(-logits[patch, channel].double().numpy()[inside]))
            q = labels[patch].numpy()[inside] == channel + 1
            dice.append((2 * (p * q).sum() + 1e-5) / ((p**2).sum() + (q**2).sum() + 1e-5))
        np.testing.assert_allclose(mine[patch], 1 - np.mean(dice), rtol=1e-5)


def test_cross_entropy_inside_a_mask_is_the_mean_over_what_the_mask_leaves() -> None:
    logits, labels, mask = case("softmax")
    mine = cross_entropy(logits, labels, mask, "softmax")
    binary = cross_entropy(logits[:, 1:], labels, mask, "sigmoid")
    for patch in range(SHAPE[0]):
        inside = mask[patch, 0]
        torch.testing.assert_close(mine[patch], F.cross_entropy(logits[patch][:, inside].T, labels[patch][inside]))
        truth = F.one_hot(labels[patch][inside], CLASSES)[:, 1:].float()
        expected = F.binary_cross_entropy_with_logits(logits[patch, 1:][:, inside].T, truth)
        torch.testing.assert_close(binary[patch], expected)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("loss", LOSSES)
def test_parts_of_ranks_add_up_to_the_loss_of_the_whole_batch(loss: Any, output: Any) -> None:
    logits, labels, mask = case(output)
    whole = local_loss(LOSSES[loss], logits, labels, mask, 4, output=output)
    parts = [
        local_loss(LOSSES[loss], logits[part], labels[part], mask[part], 4, output=output)
        for part in (slice(0, 1), slice(1, 4))
    ]
    torch.testing.assert_close(sum(parts), whole)


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("loss", LOSSES)
def test_what_lies_in_the_padding_changes_neither_loss_nor_gradient(loss: Any, output: Any) -> None:
    logits, labels, mask = case(output)
    results = []
    for garbage, label in ((0.0, 0), (500.0, -100)):
        changed = logits.where(mask, garbage).requires_grad_()
        part = local_loss(LOSSES[loss], changed, labels.where(mask[:, 0], label), mask, 4, output=output)
        part.backward()
        assert changed.grad is not None
        assert not changed.grad[~mask.expand_as(changed)].any()
        results.append((part.detach(), changed.grad))
    torch.testing.assert_close(results[0], results[1])


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_patch_that_is_all_padding_costs_nothing_and_pulls_nowhere(loss: Any, output: Any) -> None:
    logits, labels, mask = case(output)
    logits.requires_grad_()
    part = local_loss(LOSSES[loss], logits, labels, torch.zeros_like(mask), 4, output=output)
    part.backward()
    assert float(part.detach()) == pytest.approx(0, abs=1e-6)
    assert logits.grad is not None
    assert not logits.grad.any()


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_class_that_a_batch_does_not_hold_is_not_rewarded(loss: Any, output: Any) -> None:
    labels = torch.zeros(1, 6, 6, 6, dtype=torch.int64)
    labels[:, :3] = 1  # classes 2 and 3 are empty
    right = foreground(labels, 3).float() * 60 - 30
    wrong = right.clone()
    wrong[:, 1, 3:] = 30
    costs = []
    for logits in (right, wrong):
        if output == "softmax":
            logits = torch.cat([torch.zeros_like(logits[:, :1]), logits], 1)
        logits.requires_grad_()
        part = local_loss(LOSSES[loss], logits, labels, None, 1, output=output)
        part.backward()
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
        costs.append(float(part.detach()))
    assert costs[0] == pytest.approx(0, abs=1e-4)
    assert costs[1] > 0.3
    if loss == "dice":
        # Of three classes one is wholly wrong, and the others are neither better nor worse for it.
        assert costs[1] == pytest.approx(1 / 3, abs=1e-4)


def test_extreme_logits_of_half_precision_give_a_finite_loss_in_single_precision() -> None:
    logits, labels, mask = case("softmax")
    for loss in LOSSES:
        for output, given in (("softmax", logits), ("sigmoid", logits[:, 1:])):
            given = (given * 1e4).bfloat16().requires_grad_()
            part = local_loss(LOSSES[loss], given, labels, mask, 4, output=output)  # type: ignore[arg-type]
            part.backward()
            assert part.dtype == torch.float32
            assert torch.isfinite(part)
            assert given.grad is not None
            assert torch.isfinite(given.grad).all()


def test_focal_with_no_focus_is_cross_entropy() -> None:
    for output in ("sigmoid", "softmax"):
        logits, labels, mask = case(output)
        plain = cross_entropy(logits, labels, mask, output)
        torch.testing.assert_close(focal(logits, labels, mask, output, focus=0.0), plain)


def test_outputs_of_deep_supervision_count_half_of_the_finer_one_each_and_one_together() -> None:
    assert supervision_weights(1) == [1]
    assert supervision_weights(3) == pytest.approx([4 / 7, 2 / 7, 1 / 7])
    logits, labels, mask = case("softmax")
    coarse = torch.randn(4, CLASSES, 3, 3, 4, generator=torch.Generator().manual_seed(1))
    both = local_loss(LOSSES["dice_focal"], [logits, coarse], labels, mask, 4, output="softmax")
    truth, inside = nearest_voxels(labels, (3, 3, 4)), nearest_voxels(mask, (3, 3, 4))
    fine = local_loss(LOSSES["dice_focal"], logits, labels, mask, 4, output="softmax")
    rough = local_loss(LOSSES["dice_focal"], coarse, truth, inside, 4, output="softmax")
    torch.testing.assert_close(both, 2 / 3 * fine + 1 / 3 * rough)


@pytest.mark.parametrize("sizes", [(6, 5, 7), (3, 3, 4), (2, 1, 3)])
def test_coarser_labels_are_torchs_nearest_ones(sizes: tuple[int, ...]) -> None:
    _, labels, mask = case("softmax")
    for values in (labels[:, None], mask):
        expected = F.interpolate(values.double(), size=sizes, mode="nearest-exact")
        assert torch.equal(nearest_voxels(values, sizes).double(), expected)
    assert torch.equal(nearest_voxels(labels, sizes), nearest_voxels(labels[:, None], sizes)[:, 0])


@pytest.mark.parametrize("output", ["sigmoid", "softmax"])
def test_label_maps_of_two_dimensions_are_as_good(output: Any) -> None:
    logits, labels, mask = case(output)
    for loss in LOSSES:
        flat = local_loss(LOSSES[loss], logits[..., 0], labels[..., 0], mask[..., 0], 4, output=output)  # type: ignore[arg-type]
        thin = local_loss(LOSSES[loss], logits[..., :1], labels[..., :1], mask[..., :1], 4, output=output)  # type: ignore[arg-type]
        torch.testing.assert_close(flat, thin)


def test_a_loss_that_the_task_does_not_have_is_refused_with_the_nearest_name() -> None:
    assert find_loss("cross_entropy", "classification") is LOSSES["cross_entropy"]
    with pytest.raises(ConfigError, match=r"training\.loss: unknown loss 'dice' for classification; known: cross_ent"):
        find_loss("dice", "classification")
    with pytest.raises(ConfigError, match=r"unknown loss 'dise' for segmentation; did you mean 'dice'\?"):
        find_loss("dise", "segmentation")


def test_a_loss_of_ones_own_is_averaged_over_the_patches() -> None:
    def brightness(logits: torch.Tensor, *_: Any) -> torch.Tensor:
        return logits.float().flatten(1).mean(1)

    logits, labels, mask = case("softmax")
    ours = local_loss(Loss("brightness", "brightness", (brightness,)), logits, labels, mask, len(logits))
    torch.testing.assert_close(ours, logits.mean())


@pytest.mark.parametrize("seed", range(2))
def test_the_loss_of_regions_is_that_of_each_channel_alone(seed: int) -> None:
    logits, labels, mask = case("sigmoid", seed)
    members = [[1, 2, 3], [2, 3], [3]]
    maps = torch.stack([torch.isin(labels, torch.tensor(numbers)) for numbers in members], 1)
    total = local_loss(LOSSES["dice_cross_entropy"], logits, maps, mask, SHAPE[0], output="sigmoid")
    expected = []
    for patch in range(SHAPE[0]):
        inside = mask[patch, 0]
        for channel in range(3):
            p, t = logits[patch, channel][inside].sigmoid(), maps[patch, channel][inside].float()
            dice = (2 * (p * t).sum() + 1e-5) / ((p * p).sum() + t.sum() + 1e-5)
            expected.append(1 - dice + F.binary_cross_entropy(p, t))
    assert total == pytest.approx(float(torch.stack(expected).mean()), rel=1e-5)
