"""Cross-entropy of patches and of voxels."""

import torch
import torch.nn.functional as F

from voxray.training.losses.base import Output, foreground, inside_labels, masked_mean


def cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor | None, output: Output
) -> torch.Tensor:
    """Mean cross-entropy of each patch or of its voxels; with a sigmoid the mean over classes of the binary ones.

    Parameters and result are those of `Loss.terms`.
    """
    if output == "softmax":
        values = F.cross_entropy(logits.float(), inside_labels(labels, mask), reduction="none").unsqueeze(1)
    else:
        truth = foreground(labels, logits.shape[1]).float()
        values = F.binary_cross_entropy_with_logits(logits.float(), truth, reduction="none")
    return masked_mean(values, mask)
