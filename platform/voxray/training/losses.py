"""Losses whose parts on different ranks add up to that of the global batch."""

import torch
import torch.nn.functional as F


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


def local_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None, total: int
) -> torch.Tensor:
    """This rank's part of the mean cross-entropy of a global batch.

    Parameters
    ----------
    logits : Tensor, (n, classes)
    labels : Tensor of int64, (n,)
    weights : Tensor, (classes,), optional
    total : int
        Patches of the global batch, over all ranks.
    """
    each = F.cross_entropy(logits.float(), labels, reduction="none")
    return (each if weights is None else each * weights[labels]).sum() / total
