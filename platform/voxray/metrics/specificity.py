"""Specificity, a metric of patches and of voxels alike."""

from voxray.metrics.classification import Samples
from voxray.metrics.curves import ratio
from voxray.metrics.metric import Metric
from voxray.metrics.segmentation import ClassVoxels
from voxray.metrics.support import of_scored_classes


def specificity(evaluated: Samples | ClassVoxels) -> float:
    """Share of what is not of a class that is not predicted as it either."""
    if isinstance(evaluated, Samples):
        return evaluated.class_mean("specificity")
    return float(ratio(evaluated.tn, evaluated.tn + evaluated.fp))


SPECIFICITY = Metric(
    "specificity",
    "Specificity",
    specificity,
    "share of what is not {positive} that is predicted so; near 1 where {positive} is rare",
    tasks=("classification", "segmentation"),
    multiclass_description="share of what is not of a class that is predicted so; near 1 where the class is rare",
    undefined="nothing in this split is outside the class",
    per_epoch=False,
    rests_on=of_scored_classes("specificity"),
    in_terminal=False,
)
