"""The learning rate as a pure function of progress, so that checkpoints need no scheduler state."""

import math

from voxray.config.training import TrainingSpec


def learning_rate(spec: TrainingSpec, progress: float, steps: int) -> float:
    """Learning rate after `progress` epochs, a number with a fraction, of `steps` steps each.

    After a linear warm-up it is constant, a half cosine down to zero, or multiplied by `decay` after every
    `decay_steps` steps; 0 stands for the steps of an epoch.
    """
    if progress < spec.warmup_epochs:
        return spec.learning_rate * (progress + 1e-9) / spec.warmup_epochs
    if spec.schedule == "cosine":
        share = (progress - spec.warmup_epochs) / max(spec.epochs - spec.warmup_epochs, 1e-9)
        return spec.learning_rate * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    if spec.schedule == "exponential":
        # With a margin, because a step's progress may be a rounding error too small.
        decays = (progress * steps + 1e-6) // spec.decay_steps if spec.decay_steps else math.floor(progress)
        return float(spec.learning_rate * spec.decay**decays)
    return spec.learning_rate
