"""Focal loss."""

import torch
import torch.nn.functional as F

from voxray.training.losses.base import Output, foreground, inside_labels, masked_mean

FOCUS = 2.0  # γ with the best results of Lin et al. 2017, "Focal Loss for Dense Object Detection"


def focal(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, output: Output, focus: float = FOCUS
) -> torch.Tensor:
    """Mean over the voxels of each patch of −(1 − pₜ)^γ log pₜ, pₜ the probability of what is true (Lin et al. 2017).

    With a sigmoid the mean over classes too. Parameters and result are those of `Loss.terms`.
    """
    values = logits.float()
    if output == "softmax":
        log_true = values.log_softmax(1).gather(1, inside_labels(labels, mask).unsqueeze(1))
    else:
        log_true = F.logsigmoid(torch.where(foreground(labels, logits.shape[1]), values, -values))
    # 1 − exp(log p) would lose what is left beside a p near 1.
    wrong = -torch.expm1(log_true)
    return masked_mean(-wrong.pow(focus) * log_true, mask)
