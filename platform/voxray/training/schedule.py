"""The learning rate as a pure function of progress, so that nothing of it needs to be saved."""

import math

from voxray.config.experiment import TrainingSpec


def learning_rate(spec: TrainingSpec, progress: float) -> float:
    """Learning rate after `progress` epochs (with fraction).

    A linear warm-up comes first; then constant, a half cosine down to zero, or × `decay` after each epoch.
    """
    if progress < spec.warmup_epochs:
        return spec.learning_rate * (progress + 1e-9) / spec.warmup_epochs
    if spec.schedule == "cosine":
        share = (progress - spec.warmup_epochs) / max(spec.epochs - spec.warmup_epochs, 1e-9)
        return spec.learning_rate * (1 + math.cos(math.pi * min(share, 1.0))) / 2
    if spec.schedule == "exponential":
        return float(spec.learning_rate * spec.decay ** math.floor(progress))
    return spec.learning_rate
