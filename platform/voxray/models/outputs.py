"""From the logits of a segmentation network to probabilities and a class for each voxel."""

from collections.abc import Sequence
from typing import Literal

import torch

Activation = Literal["sigmoid", "softmax"]


def class_probabilities(logits: torch.Tensor, activation: Activation) -> torch.Tensor:
    """Probabilities of logits (n, channels, …).

    ``softmax`` has a channel for each class, the background first; ``sigmoid`` has an independent one for each
    foreground class.
    """
    return logits.softmax(1) if activation == "softmax" else logits.sigmoid()


def label_maps(probabilities: torch.Tensor, activation: Activation, regions: Sequence[int] = ()) -> torch.Tensor:
    """The class of each voxel, (n, channels, …) → (n, …) uint8.

    ``softmax``: the most probable class. ``sigmoid``: the most probable one among those of at least 0.5, or else
    the background. With `regions`, the number that is written for each channel: later ones over earlier ones where
    they have at least 0.5.
    """
    if regions:
        numbers = torch.zeros_like(probabilities[:, 0], dtype=torch.uint8)
        for number, channel in zip(regions, probabilities.unbind(1), strict=True):
            numbers = numbers.masked_fill(channel >= 0.5, number)
        return numbers
    highest, best = probabilities.max(1)
    if activation == "softmax":
        return best.to(torch.uint8)
    return torch.where(highest >= 0.5, best + 1, 0).to(torch.uint8)


def foreground_probabilities(probabilities: torch.Tensor, activation: Activation) -> torch.Tensor:
    """The probability of anything but background, (n, channels, …) → (n, …).

    ``sigmoid``: that of the most probable class.
    """
    return 1 - probabilities[:, 0] if activation == "softmax" else probabilities.amax(1)
