"""Lesions that a segmentation finds, one by one: a large lesion counts as much as a small one.

A lesion is a connected component of a class; voxels that share a corner belong together (26 neighbors, 8 in a slice).
A true lesion is found if the prediction has a voxel of its class in it. A predicted lesion is right if it has a voxel
of a true one. These are the rules of the WMH challenge (https://wmh.isi.uu.nl/evaluation) and, for what is missed and
invented, of autoPET; how well a found lesion is drawn is what Dice says.

Several scans are one pool of lesions: the recall of a split is the share of all its lesions, not a mean over scans.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.curves import Floats, ratio
from voxray.metrics.metric import Metric

Bools = NDArray[np.bool_]

TASKS = ("segmentation",)


@dataclass(frozen=True)
class Lesions:
    """Numbers of lesions of one class of one scan."""

    true: int
    found: int
    predicted: int
    right: int


def count_lesions(truth: Bools, prediction: Bools) -> Lesions:
    """Count the connected components of two masks of one shape, and those of each that touch the other."""
    true, found = _components(truth, prediction)
    predicted, right = _components(prediction, truth)
    return Lesions(true, found, predicted, right)


def _components(mask: Bools, other: Bools) -> tuple[int, int]:
    """Connected components of a mask, and those with a voxel of the other mask."""
    labels, number = label_components(mask)
    return number, int(np.count_nonzero(np.bincount(labels[mask & other], minlength=1)[1:]))


def label_components(mask: Bools) -> tuple[NDArray[np.int32], int]:
    """Numbers 1, 2, … of the connected component of each voxel, 0 outside the mask, and how many there are."""
    from scipy.ndimage import generate_binary_structure, label

    if not mask.size:
        return np.zeros(mask.shape, np.int32), 0
    labels, number = label(mask, generate_binary_structure(mask.ndim, mask.ndim))
    return labels, int(number)


def harmonic_mean(recall: Floats, precision: Floats) -> Floats:
    """F1: NaN where both are undefined, 0 where one is, because then no lesion is found."""
    first, second = np.nan_to_num(recall), np.nan_to_num(precision)
    f1 = np.nan_to_num(ratio(2 * first * second, first + second))
    return np.where(np.isnan(recall) & np.isnan(precision), math.nan, f1)


def _recall(voxels: Any) -> float:
    return float(ratio(voxels.lesions.found, voxels.lesions.true))


def _precision(voxels: Any) -> float:
    return float(ratio(voxels.lesions.right, voxels.lesions.predicted))


def _f1(voxels: Any) -> float:
    return float(harmonic_mean(np.array(_recall(voxels)), np.array(_precision(voxels))))


LESION_RECALL = Metric(
    "lesion_recall",
    "Lesion recall",
    _recall,
    "share of the true lesions (connected components) of all scans in which the prediction has a voxel",
    TASKS,
    undefined="no scan has the class in its truth",
    per_epoch=False,
    in_terminal=False,
    weighted_by="lesions",
)
LESION_PRECISION = Metric(
    "lesion_precision",
    "Lesion precision",
    _precision,
    "share of the predicted lesions (connected components) of all scans that have a voxel of a true one",
    TASKS,
    undefined="no scan has the class in its prediction",
    per_epoch=False,
    in_terminal=False,
    weighted_by="predicted_lesions",
)
LESION_F1 = Metric(
    "lesion_f1",
    "Lesion F1",
    _f1,
    "harmonic mean of lesion recall and lesion precision; 1 if every lesion is found and none invented",
    TASKS,
    undefined="no scan has the class in truth or prediction",
    per_epoch=False,
    in_terminal=False,
    f1_of=("lesion_recall", "lesion_precision"),
)
LESIONS = Metric(
    "lesions",
    "Lesions",
    lambda voxels: float(voxels.lesions.true),
    "connected components of the truth, in all scans",
    TASKS,
    bounds=(0, math.inf),
    digits=0,
    per_epoch=False,
    interval=False,
    in_terminal=False,
    summed=True,
)
PREDICTED_LESIONS = Metric(
    "predicted_lesions",
    "Predicted lesions",
    lambda voxels: float(voxels.lesions.predicted),
    "connected components of the prediction, in all scans",
    TASKS,
    bounds=(0, math.inf),
    digits=0,
    per_epoch=False,
    interval=False,
    in_terminal=False,
    summed=True,
)
