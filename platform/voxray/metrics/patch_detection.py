"""Sensitivity and specificity of a segmentation by patches: does the prediction mark the right parts of a scan?

A scan is divided into boxes of the patch size, from its first voxel on; the last box along an axis may be smaller. A
box is positive for a class where the truth has a voxel of it, and predicted as positive where the prediction has one.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.curves import ratio
from voxray.metrics.metric import Metric
from voxray.metrics.segmentation import Bools, Labels, Regions, counted_labels, of_labels

TASKS = ("segmentation",)


def patch_metrics(
    truth: Labels,
    prediction: Labels,
    patch: Sequence[int],
    classes: Sequence[str],
    *,
    regions: Regions = (),
    ignored: Bools | None = None,
) -> dict[str, float]:
    """``patch_sensitivity/<class>`` and ``patch_specificity/<class>`` of one scan.

    Parameters
    ----------
    truth, prediction : ndarray of int, (x, y, z)
        Label maps in the scan's own voxels; 0 is background.
    patch : (x, y, z)
        Voxels of a box.
    classes : sequence of str
        Names of the labels 0, 1, …, or of the background and the regions.
    regions, ignored
        As for `voxray.metrics.segmentation.class_voxels`; a box that is ignored as a whole does not count.

    Returns
    -------
    dict
        NaN where no box is positive (sensitivity), or all are (specificity).

    Raises
    ------
    ScanError
        The shapes differ, or a value is no label.
    """
    members = regions or [(label,) for label in range(1, len(classes))]
    truth, prediction = counted_labels(truth, prediction, max(map(max, members), default=0) + 1, ignored)
    known = True if ignored is None else occupied_patches(~ignored, patch)
    metrics: dict[str, float] = {}
    for labels, name in zip(members, classes[1:], strict=True):
        true, predicted = (occupied_patches(of_labels(each, labels), patch) for each in (truth, prediction))
        negative = ~true & known
        metrics[f"{PATCH_SENSITIVITY.name}/{name}"] = float(ratio((true & predicted).sum(), true.sum()))
        metrics[f"{PATCH_SPECIFICITY.name}/{name}"] = float(ratio((negative & ~predicted).sum(), negative.sum()))
    return metrics


def occupied_patches(mask: Bools, patch: Sequence[int]) -> Bools:
    """Whether each box of a scan has a voxel of the mask: one value a box, along x, y, z."""
    for axis, size in enumerate(patch):
        mask = np.logical_or.reduceat(mask, np.arange(0, mask.shape[axis], size), axis=axis)
    return mask


def patch_in_scan(
    size: Sequence[int], spacing_mm: Sequence[float] | None, shape: Sequence[int], affine: NDArray[np.float64]
) -> tuple[int, ...]:
    """Voxels of a patch along the axes of a scan, at least one and at most the scan.

    Parameters
    ----------
    size : (x, y, z)
        Of a patch, in RAS+ axes.
    spacing_mm : (x, y, z), optional
        Of the patch's voxels; None where they are those of the scan.
    shape : (i, j, k)
        Of the scan.
    affine : ndarray, (4, 4)
        Index (i, j, k) to world millimeters, RAS.
    """
    axes = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).argmax(axis=0)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    scale = np.ones(3) if spacing_mm is None else np.asarray(spacing_mm)[axes] / steps
    voxels = np.asarray(size)[axes] * scale
    return tuple(min(extent, max(1, math.floor(edge + 0.5))) for extent, edge in zip(shape, voxels, strict=True))


PATCH_SENSITIVITY = Metric(
    "patch_sensitivity",
    "Patch sensitivity",
    None,
    "share of the patches with true foreground of the class that have predicted foreground of it; patches are boxes of "
    "the patch size that divide the scan",
    TASKS,
    undefined="no scan has the class in its truth",
    per_epoch=False,
    in_terminal=False,
)
PATCH_SPECIFICITY = Metric(
    "patch_specificity",
    "Patch specificity",
    None,
    "share of the patches without true foreground of the class that have no predicted foreground of it",
    TASKS,
    undefined="every patch of every scan has the class in its truth",
    per_epoch=False,
    in_terminal=False,
)
