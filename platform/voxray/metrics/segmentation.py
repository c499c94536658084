"""Figures of a segmentation from label maps of whole scans, per class and in millimeters.

One rule for a class that a scan or its prediction lacks: **a figure without a meaning is NaN, and NaN is left out of
means; a figure that has one is never left out.**

=====================  =============  ==================  ==================
figure                 both empty     only truth empty    only prediction empty
=====================  =============  ==================  ==================
``dice``               NaN            0                   0
``surface_dice``       NaN            0                   0
``sensitivity``        NaN            NaN                 0
``specificity``        1              less than 1         1
``hd95_mm``            NaN            NaN                 NaN
``volume_error``       NaN            NaN                 1
``missed``             0              1                   1
=====================  =============  ==================  ==================

So an invented class costs as much Dice as one that was not found, and nothing is earned for a class that was not there
to be found. Its distance would be infinite and cannot be averaged; ``missed`` counts these scans, and a mean of
``hd95_mm`` says nothing without it.

Sources: 95 % Hausdorff distance and surface Dice as in Nikolov et al. 2018 (arXiv:1809.04430) and Reinke et al. 2021
(arXiv:2111.05408), with a voxel of the surface as the unit of area, as MONAI counts; a voxel is of the surface if one
of its six neighbors is not of the class or lies outside the scan.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion, find_objects
from scipy.spatial import KDTree

from voxray.errors import ScanError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Labels = NDArray[Any]
Bools = NDArray[np.bool_]

SUMMED = "missed"
TOLERANCE_MM = 1.0
# Distances on a grid are often exactly the tolerance, but for rounding.
ROUNDING = 1 + 1e-6


@dataclass(frozen=True, eq=False)
class Counts:
    """Voxels of each class by truth and prediction. Counts of parts of the data add up to those of the whole.

    Attributes
    ----------
    tp, fp, fn, tn : ndarray of int64, (classes,)
        In the order of the labels 1, 2, …
    """

    tp: Ints
    fp: Ints
    fn: Ints
    tn: Ints

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.tp + other.tp, self.fp + other.fp, self.fn + other.fn, self.tn + other.tn)


def count_voxels(truth: Labels, prediction: Labels, classes: int) -> Counts:
    """Count what was found, invented, missed and rightly left alone, for each of the labels 1 … classes − 1.

    Parameters
    ----------
    truth, prediction : ndarray of int, of one shape
        0 is background.
    classes : int
        Background included.

    Raises
    ------
    ScanError
        If the shapes differ or a value is no label.
    """
    check_labels(truth, prediction, classes)
    return _counts(_crops(truth, prediction, classes), truth.size)


def metrics_from_counts(counts: Counts, classes: Sequence[str]) -> dict[str, float]:
    """``dice/<class>``, ``sensitivity/<class>``, ``specificity/<class>`` and ``volume_error/<class>`` of counts.

    Parameters
    ----------
    counts : Counts
    classes : sequence of str
        Names of the labels 0, 1, …; the first is the background and has no figures.
    """
    truth, predicted = counts.tp + counts.fn, counts.tp + counts.fp
    figures = {
        "dice": _ratio(2 * counts.tp, truth + predicted),
        "sensitivity": _ratio(counts.tp, truth),
        "specificity": _ratio(counts.tn, counts.tn + counts.fp),
        "volume_error": np.where(truth > 0, _ratio(np.abs(predicted - truth), truth), math.nan),
    }
    return {
        f"{name}/{each}": float(value)
        for name, values in figures.items()
        for each, value in zip(classes[1:], values, strict=True)
    }


def scan_metrics(
    truth: Labels,
    prediction: Labels,
    spacing_mm: Sequence[float],
    classes: Sequence[str],
    tolerance_mm: float = TOLERANCE_MM,
) -> dict[str, float]:
    """All figures of one scan, ``<figure>/<class>``; NaN as said at the top of this module.

    Parameters
    ----------
    truth, prediction : ndarray of int, (x, y, z)
        Label maps in the scan's own voxels.
    spacing_mm : (x, y, z)
        Of the scan itself, not of what the network saw.
    classes : sequence of str
        Names of the labels 0, 1, …; the first is the background and has no figures.
    tolerance_mm : float
        A surface is right where the other one is no further away; for surface Dice.

    Returns
    -------
    dict
        ``dice``, ``sensitivity``, ``specificity``; ``volume_error``, the difference of the volumes as a share of the
        true one; ``hd95_mm``, the larger of the 95th percentiles of the distances from one surface to the other and
        back; ``surface_dice``, the share of both surfaces that is within the tolerance; ``missed``, 1 where just one
        of truth and prediction is empty.

    Raises
    ------
    ScanError
        If the shapes differ, a value is no label, or a spacing is not positive.
    """
    check_labels(truth, prediction, len(classes))
    if len(spacing_mm) != truth.ndim or not all(0 < step < math.inf for step in spacing_mm):
        raise ScanError("spacing_mm", f"must be a positive number for each of {truth.ndim} axes, got {spacing_mm}")
    # In a single slice a voxel is of the surface by its neighbors in the slice only.
    axes = [axis for axis, voxels in enumerate(truth.shape) if voxels > 1] or [0]
    shape, spacing = [truth.shape[axis] for axis in axes], [spacing_mm[axis] for axis in axes]
    pairs = _crops(truth.reshape(shape), prediction.reshape(shape), len(classes))
    figures = metrics_from_counts(_counts(pairs, truth.size), classes)
    for name, (true, predicted) in zip(classes[1:], pairs, strict=True):
        there, back = surface_distances(true, predicted, spacing)
        one_empty = bool(len(there)) != bool(len(back))
        figures[f"hd95_mm/{name}"] = math.nan if one_empty else hausdorff_95(there, back)
        figures[f"surface_dice/{name}"] = surface_dice(there, back, tolerance_mm)
        figures[f"missed/{name}"] = float(one_empty)
    return figures


def check_labels(truth: Labels, prediction: Labels, classes: int) -> None:
    """Refuse label maps that do not belong together, or hold what is no label."""
    if truth.shape != prediction.shape:
        raise ScanError("prediction", f"must have the shape {truth.shape} of the truth, got {prediction.shape}")
    for where, labels in (("truth", truth), ("prediction", prediction)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise ScanError(where, f"must hold whole numbers, got {labels.dtype}")
        wrong = [int(end) for end in (labels.min(initial=0), labels.max(initial=0)) if not 0 <= end < classes]
        if wrong:
            raise ScanError(where, f"holds the value {wrong[0]}, but labels are 0 to {classes - 1}")


def surface_distances(truth: Bools, prediction: Bools, spacing_mm: Sequence[float]) -> tuple[Floats, Floats]:
    """Distance in mm from each voxel of one surface to the nearest of the other.

    Parameters
    ----------
    truth, prediction : ndarray of bool, of one shape
        What lies outside the arrays is taken as not of the class.
    spacing_mm : sequence of float, for each axis

    Returns
    -------
    there : ndarray, one for each voxel of the surface of `prediction`
    back : ndarray, one for each voxel of the surface of `truth`
        Infinite where there is no other surface.
    """
    true, predicted = (mask ^ binary_erosion(mask) if mask.any() else mask for mask in (truth, prediction))
    return _distances(predicted, true, spacing_mm), _distances(true, predicted, spacing_mm)


def hausdorff_95(there: Floats, back: Floats) -> float:
    """The larger of both 95th percentiles (linear between ranks); NaN if there is no distance at all."""
    percentiles = [float(np.percentile(distances, 95)) for distances in (there, back) if len(distances)]
    return max(percentiles, default=math.nan)


def surface_dice(there: Floats, back: Floats, tolerance_mm: float) -> float:
    """Share of both surfaces within the tolerance; NaN if there is no surface at all."""
    near = sum(int(np.count_nonzero(distances <= tolerance_mm * ROUNDING)) for distances in (there, back))
    return float(_ratio(near, len(there) + len(back)))


def mean_metrics(cases: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over scans without NaN, ``dice`` as the mean of the classes' means, and ``missed`` as a sum.

    Parameters
    ----------
    cases : sequence of dict
        From `scan_metrics`, all with the same classes.
    """
    if not cases:
        return {}
    names = list(cases[0])
    means = _weighted(cases, names, np.ones((1, len(cases))))
    return {name: float(value) for name, value in zip(["dice", *names], means[0], strict=True)}


def bootstrap_intervals(
    cases: Sequence[Mapping[str, float]], patients: Sequence[Any], repeats: int, seed: int
) -> dict[str, tuple[float, float]]:
    """95 % intervals (percentiles) of the means, drawing patients with replacement (Efron 1979).

    Returns
    -------
    dict
        Figure → (low, high), without ``missed``; NaN where more than half of the draws have no value.
    """
    if not cases:
        return {}
    names = [name for name in cases[0] if not name.startswith(SUMMED)]
    unique, member = np.unique(np.array(patients), return_inverse=True)
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(unique), (repeats, len(unique)))
    times = np.stack([np.bincount(draw, minlength=len(unique)) for draw in drawn])
    draws = _weighted(cases, names, times[:, member].astype(float))
    return {name: _percentiles(values) for name, values in zip(["dice", *names], draws.T, strict=True)}


def case_dice(case: Mapping[str, float]) -> float:
    """Mean Dice over the classes of a scan; NaN if it and its prediction have none."""
    return mean_metrics([case])["dice"]


def _crops(truth: Labels, prediction: Labels, classes: int) -> list[tuple[Bools, Bools]]:
    """Both masks of each label but 0, cut to the smallest box around them; without voxels if they are empty."""
    crops = []
    boxes = zip(find_objects(truth, classes - 1), find_objects(prediction, classes - 1), strict=True)
    for label, pair in enumerate(boxes, 1):
        axes = zip(*[box for box in pair if box is not None], strict=True)
        joint = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in axes)
        joint = joint or (slice(0),) * truth.ndim
        crops.append((truth[joint] == label, prediction[joint] == label))
    return crops


def _counts(pairs: Sequence[tuple[Bools, Bools]], size: int) -> Counts:
    both = np.array([np.count_nonzero(true & predicted) for true, predicted in pairs], np.int64)
    fp = np.array([np.count_nonzero(predicted) for _, predicted in pairs], np.int64) - both
    fn = np.array([np.count_nonzero(true) for true, _ in pairs], np.int64) - both
    return Counts(both, fp, fn, size - both - fp - fn)


def _distances(start: Bools, goal: Bools, spacing_mm: Sequence[float]) -> Floats:
    """From each voxel of `start` to the nearest of `goal`.

    A tree of the goal's voxels gives the distances of a distance transform, but does not visit the space between: it
    is faster by half on large organs, and many times faster where a stray voxel makes the box large.
    """
    distances = np.zeros(np.count_nonzero(start))
    if not goal.any():
        return np.full_like(distances, math.inf)
    apart = ~goal[start]
    tree = KDTree(np.argwhere(goal) * np.asarray(spacing_mm), leafsize=32)
    distances[apart] = tree.query(np.argwhere(start)[apart] * np.asarray(spacing_mm))[0]
    return distances


def _weighted(cases: Sequence[Mapping[str, float]], names: Sequence[str], weights: Floats) -> Floats:
    """Means (sums for `SUMMED`) for each row of weights, the mean Dice of the classes before them."""
    table = np.array([[case[name] for name in names] for case in cases], float)
    known = np.isfinite(table)
    sums, amounts = weights @ np.where(known, table, 0.0), weights @ known
    summed = [name.startswith(SUMMED) for name in names]
    means = np.where(summed, sums, _ratio(sums, amounts))
    dice = means[:, [name.startswith("dice/") for name in names]]
    overall = _ratio(np.where(np.isfinite(dice), dice, 0.0).sum(1), np.isfinite(dice).sum(1))
    return np.column_stack([overall, means])


def _percentiles(values: Floats) -> tuple[float, float]:
    known = values[np.isfinite(values)]
    if len(known) * 2 < len(values) or not len(known):
        return math.nan, math.nan
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def _ratio(part: Any, whole: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(part, float) / np.asarray(whole, float)
