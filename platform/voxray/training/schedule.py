"""The learning rate as a pure function of progress, so that nothing of it needs to be saved."""

import math

from voxray.config.training import TrainingSpec


def learning_rate(spec: TrainingSpec, progress: float, steps: int) -> float:
    """Learning rate after `progress` epochs (with fraction) of so many `steps`.

    A linear warm-up comes first; then constant, a half cosine down to zero, or × `decay` after every `decay_steps`
    steps; after each epoch where these are 0.
    """
    if progress < spec.warmup_epochs:
        return spec.learning_rate * (progress + 1e-9) / spec.warmup_epochs
    if spec.schedule == "cosine":
        share = (progress - spec.warmup_epochs) / max(spec.epochs - spec.warmup_epochs, 1e-9)
        return spec.learning_rate * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    if spec.schedule == "exponential":
        # A little more, because a step may lie a rounding error before its number.
        decays = (progress * steps + 1e-6) // spec.decay_steps if spec.decay_steps else math.floor(progress)
        return float(spec.learning_rate * spec.decay**decays)
    return spec.learning_rate
