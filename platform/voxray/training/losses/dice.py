"""Soft Dice loss."""

import torch

from voxray.training.losses.base import Output, foreground

SMOOTH = 1e-5


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
    scores = logits.float()
    probabilities = scores.sigmoid() if output == "sigmoid" else scores.softmax(1)[:, 1:]
    truth = foreground(labels, probabilities.shape[1])
    if mask is not None:
        probabilities, truth = probabilities.where(mask, 0), truth & mask
    ones = truth.to(probabilities.dtype)
    both, predicted, true = (
        values.flatten(2).sum(2) for values in (probabilities * ones, probabilities.square(), ones)
    )
    return 1 - ((2 * both + smooth) / (predicted + true + smooth)).mean(1)
