"""The tasks that a network can be trained for, by name. Each room keeps one table keyed by these names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Task:
    """What a task is, without the code that does it.

    Attributes
    ----------
    name : str
        Kept in the attributes of a store and the metadata of a trained model.
    labeled : str
        What has a label, ``patch`` or ``voxel``.
    headline : tuple of str
        Metrics that a report shows first.
    """

    name: str
    labeled: Literal["patch", "voxel"]
    headline: tuple[str, ...]

    @property
    def needs_masks(self) -> bool:
        """Whether training needs a label map for each patch."""
        return self.labeled == "voxel"


TASKS: Mapping[str, Task] = {
    task.name: task
    for task in (
        Task("classification", "patch", ("recall", "precision", "roc_auc", "average_precision", "error")),
        Task("segmentation", "voxel", ("dice", "hd95_mm", "surface_dice")),
    )
}
