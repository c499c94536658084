"""What losses share: the value of a batch from those of its patches, deep supervision, class weights, padding.

A loss gives a number for each patch. The local loss is their sum over this rank's patches, divided by the patches of
the global batch, so that local losses add up to the loss of the batch and every patch counts the same, however much of
it is padding.

Voxels outside the mask take part in nothing: neither in the sums of Dice nor in the means over voxels. A patch that is
all padding costs 0 and gives no gradient.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch

Output = Literal["sigmoid", "softmax"]
LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None, Output], torch.Tensor]


@dataclass(frozen=True)
class Loss:
    """One loss. It is registered by one line in `voxray.training.losses`.

    Attributes
    ----------
    name : str
        The value of `training.loss`.
    label : str
        How reports write it.
    terms : tuple of callable
        Added up. Each is a function (logits, labels, mask, output) → (n,), float32 whatever the logits are:

        - logits : Tensor, (n, channels[, x, y[, z]])
        - labels : Tensor of int64, (n[, x, y[, z]]); of classes that overlap, Tensor of bool, (n, channels, x, y[, z])
        - mask : Tensor of bool, (n, 1, x, y[, z]), or None; False where a patch is padding
        - output : ``softmax``, a channel for each class, or ``sigmoid``, one for each class but the background
    tasks : tuple of str
        Names of the tasks that it is for.
    """

    name: str
    label: str
    terms: tuple[LossFunction, ...]
    tasks: tuple[str, ...] = ("segmentation",)


def local_loss(
    loss: Loss,
    logits: torch.Tensor | Sequence[torch.Tensor],
    labels: torch.Tensor,
    mask: torch.Tensor | None,
    total: int,
    *,
    output: Output = "softmax",
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """This rank's share of the mean loss of a global batch.

    Parameters
    ----------
    loss : Loss
    logits : Tensor, (n, channels[, x, y[, z]]), or several from fine to coarse
        Several are those of a network with deep supervision while it trains; the coarse ones count as
        `supervision_weights` says and are compared with the labels of the nearest voxels.
    labels : Tensor of int64, (n,) or (n, x, y[, z])
        0 is background. Of classes that overlap, Tensor of bool, (n, channels, x, y[, z]).
    mask : Tensor of bool, (n, 1, x, y[, z]), optional
        False where a patch is padding.
    total : int
        Patches of the global batch, over all ranks.
    output : str
        ``sigmoid``: a channel for each class but the background. ``softmax``: one for each class.
    weights : Tensor, (classes,), optional
        Of the classes of patches.

    Returns
    -------
    Tensor, ()
        float32, whatever the logits are.
    """
    scales = [logits] if isinstance(logits, torch.Tensor) else list(logits)
    sums = []
    for scale_weight, scale in zip(supervision_weights(len(scales)), scales, strict=True):
        truth = nearest_voxels(labels, scale.shape[2:])
        inside = None if mask is None else nearest_voxels(mask, scale.shape[2:])
        for term in loss.terms:
            values = term(scale, truth, inside, output)
            sums.append(scale_weight * (values if weights is None else values * weights[labels]).sum())
    return torch.stack(sums).sum() / total


def class_weights(setting: str | tuple[float, ...], counts: torch.Tensor) -> torch.Tensor | None:
    """Weight of each class, scaled so that their mean over the training patches is 1.

    Parameters
    ----------
    setting : "none", "balanced" or numbers
        ``balanced`` weighs each class by the inverse of its share.
    counts : Tensor, (classes,)
        Training patches of each class.
    """
    if setting == "none":
        return None
    weights = 1 / counts.double() if isinstance(setting, str) else torch.tensor(setting, dtype=torch.float64)
    return (weights * counts.sum() / (weights * counts).sum()).float()


def foreground(labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Label maps (n, …) as bool (n, classes, …), one map for each class from 1; such maps as they are."""
    if labels.dtype == torch.bool:
        return labels
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


def inside_labels(labels: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """Labels with background where the mask is False: padding may hold any number."""
    return labels if mask is None else labels.where(mask[:, 0], 0)


def masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(n, channels, …) → (n,): the mean over channels and the voxels inside the mask; 0 where there are none."""
    if mask is None:
        return values.flatten(1).mean(1)
    voxels = mask.flatten(1).sum(1).clamp(min=1)
    return values.where(mask, 0).flatten(1).sum(1) / (voxels * values.shape[1])
