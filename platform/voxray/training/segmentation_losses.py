"""Losses of voxels whose parts on different ranks add up to that of the global batch.

Each loss gives a number for each patch of the batch; a part is their sum over this rank's patches, divided by the
patches of the global batch. So every patch counts the same, however much of it is padding.

Voxels outside the mask take part in nothing: neither in the sums of Dice nor in the means over voxels. A patch that is
all padding costs 0 and gives no gradient.
"""

from collections.abc import Callable, Sequence
from typing import Literal

import torch
import torch.nn.functional as F

Output = Literal["sigmoid", "softmax"]
LossName = Literal["dice", "cross_entropy", "focal", "dice_cross_entropy", "dice_focal"]
SMOOTH = 1e-5
FOCUS = 2.0  # γ with which Lin et al. 2017, "Focal Loss for Dense Object Detection", had their best results


def local_segmentation_loss(
    logits: torch.Tensor | Sequence[torch.Tensor],
    labels: torch.Tensor,
    mask: torch.Tensor | None,
    total: int,
    *,
    loss: LossName,
    output: Output,
) -> torch.Tensor:
    """This rank's part of the mean loss of a global batch.

    Parameters
    ----------
    logits : Tensor, (n, channels, x, y[, z]), or several from fine to coarse
        Of a network with deep supervision while it trains; the coarse ones count as `supervision_weights` says and
        are compared with labels taken at the voxels nearest to the coarse ones.
    labels : Tensor of int64, (n, x, y[, z])
        0 is background.
    mask : Tensor of bool, (n, 1, x, y[, z]), optional
        False where a patch is padding.
    total : int
        Patches of the global batch, over all ranks.
    loss : str
        Terms joined by ``_`` are added.
    output : str
        ``sigmoid``: a channel for each class but the background. ``softmax``: one for each class.

    Returns
    -------
    Tensor, ()
        float32, whatever the logits are.
    """
    scales = [logits] if isinstance(logits, torch.Tensor) else list(logits)
    sums = []
    for weight, scale in zip(supervision_weights(len(scales)), scales, strict=True):
        truth = nearest_voxels(labels, scale.shape[2:])
        inside = None if mask is None else nearest_voxels(mask, scale.shape[2:])
        sums += [weight * term(scale, truth, inside, output).sum() for term in TERMS[loss]]
    return torch.stack(sums).sum() / total


def soft_dice(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, output: Output, smooth: float = SMOOTH
) -> torch.Tensor:
    """1 − mean over the classes of (2Σpq + ε) / (Σp² + Σq² + ε) for each patch, sums over its voxels.

    The classes are those of the foreground, with softmax too. A class that a patch doesn't hold costs Σp² / (Σp² + ε):
    nothing where it isn't predicted, and about 1, hardly depending on p, where it is. So it gives no reward for what
    isn't there, and no pull worth speaking of either; the voxel-wise losses have that.

    Parameters
    ----------
    logits : Tensor, (n, channels, x, y[, z])
    labels : Tensor of int64, (n, x, y[, z])
    mask : Tensor of bool, (n, 1, x, y[, z]), optional
    output : "sigmoid" or "softmax"
    smooth : float
        ε.

    Returns
    -------
    Tensor, (n,)
        In [0, 1].
    """
    values = logits.float()
    probabilities = values.sigmoid() if output == "sigmoid" else values.softmax(1)[:, 1:]
    truth = foreground(labels, probabilities.shape[1])
    if mask is not None:
        probabilities, truth = probabilities.where(mask, 0), truth & mask
    ones = truth.to(probabilities.dtype)
    both, predicted, true = (each.flatten(2).sum(2) for each in (probabilities * ones, probabilities.square(), ones))
    return 1 - ((2 * both + smooth) / (predicted + true + smooth)).mean(1)


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, output: Output
) -> torch.Tensor:
    """Mean cross-entropy of the voxels of each patch; with a sigmoid the mean over classes of the binary ones.

    Parameters are those of `soft_dice`, and so is the result: (n,).
    """
    if output == "softmax":
        each = F.cross_entropy(logits.float(), _inside(labels, mask), reduction="none").unsqueeze(1)
    else:
        truth = foreground(labels, logits.shape[1]).float()
        each = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return _mean(each, mask)


def focal(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, output: Output, focus: float = FOCUS
) -> torch.Tensor:
    """Mean over the voxels of each patch of −(1 − pₜ)^γ log pₜ, pₜ the probability of what is true (Lin et al. 2017).

    With a sigmoid the mean over classes too. Parameters are those of `soft_dice`, and so is the result: (n,).
    """
    values = logits.float()
    if output == "softmax":
        log_true = values.log_softmax(1).gather(1, _inside(labels, mask).unsqueeze(1))
    else:
        log_true = F.logsigmoid(torch.where(foreground(labels, logits.shape[1]), values, -values))
    # 1 − exp(log p) would lose what is left beside a p near 1.
    wrong = -torch.expm1(log_true)
    return _mean(-wrong.pow(focus) * log_true, mask)


TERMS: dict[str, tuple[Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, Output], torch.Tensor], ...]] = {
    "dice": (soft_dice,),
    "cross_entropy": (cross_entropy,),
    "focal": (focal,),
    "dice_cross_entropy": (soft_dice, cross_entropy),
    "dice_focal": (soft_dice, focal),
}


def foreground(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Label maps (n, …) as bool (n, classes, …), one map for each class from 1."""
    numbers = torch.arange(1, classes + 1, device=labels.device)
    return labels.unsqueeze(1) == numbers.view(1, -1, *(1 for _ in labels.shape[1:]))


def supervision_weights(count: int) -> list[float]:
    """Weights of outputs from fine to coarse: each half of the one before, 1 together (Isensee et al. 2021)."""
    halves = [0.5**number for number in range(count)]
    return [half / sum(halves) for half in halves]


def nearest_voxels(values: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The last axes of `values` at the voxels nearest to the centers of a coarser grid of these sizes."""
    first = values.ndim - len(sizes)
    for axis, size in enumerate(sizes, first):
        old = values.shape[axis]
        if size != old:
            # The center of coarse voxel i lies at (i + ½) · old / size; integers round down without error.
            index = (2 * torch.arange(size, device=values.device) + 1) * old // (2 * size)
            values = values.index_select(axis, index)
    return values


def _inside(labels: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Labels with background where the mask is False: padding may hold any number."""
    return labels if mask is None else labels.where(mask[:, 0], 0)


def _mean(each: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(n, channels, …) → (n,): the mean over channels and the voxels inside the mask; 0 where there are none."""
    if mask is None:
        return each.flatten(1).mean(1)
    voxels = mask.flatten(1).sum(1).clamp(min=1)
    return each.where(mask, 0).flatten(1).sum(1) / (voxels * each.shape[1])
