"""The learning rate as a pure function of progress, so that checkpoints need no scheduler state."""

import math

from voxray.config.training import TrainingSpec

POWER = 0.9  # of the polynomial schedule, as in nnU-Net


def learning_rate(spec: TrainingSpec, progress: float, steps: int) -> float:
    """Learning rate after `progress` epochs, a number with a fraction, of `steps` updates of the weights each.

    After a linear warm-up it is constant, a half cosine or a polynomial down to zero, or multiplied by `decay` after
    every `decay_steps` updates; 0 stands for the updates of an epoch.
    """
    if progress < spec.warmup_epochs:
        return spec.learning_rate * (progress + 1e-9) / spec.warmup_epochs
    share = min((progress - spec.warmup_epochs) / max(spec.epochs - spec.warmup_epochs, 1e-9), 1.0)
    if spec.schedule == "cosine":
        return spec.learning_rate * (1 + math.cos(math.pi * share)) / 2
    if spec.schedule == "polynomial":
        return float(spec.learning_rate * (1 - share) ** POWER)
    if spec.schedule == "exponential":
        # With a margin, because a step's progress may be a rounding error too small.
        decays = (progress * steps + 1e-6) // spec.decay_steps if spec.decay_steps else math.floor(progress)
        return float(spec.learning_rate * spec.decay**decays)
    return spec.learning_rate
