"""Metrics of a segmentation from label maps of whole scans, per class and in millimeters.

One rule for a class that a scan or its prediction lacks: **an undefined metric is NaN, and NaN is left out of
means; a defined one is never left out.**

=====================  =============  ==================  ==================
metric                 both empty     only truth empty    only prediction empty
=====================  =============  ==================  ==================
``dice``               NaN            0                   0
``surface_dice``       NaN            0                   0
``sensitivity``        NaN            NaN                 0
``specificity``        1              less than 1         1
``hd95_mm``            NaN            NaN                 NaN
``volume_error``       NaN            NaN                 1
``missed``             0              1                   1
``lesion_recall``      NaN            NaN                 0
``lesion_precision``   NaN            0                   NaN
``lesion_f1``          NaN            0                   0
=====================  =============  ==================  ==================

So an invented class costs as much Dice as a class that was not found, and an absent class earns nothing. Its distance
would be infinite and cannot be averaged; ``missed`` counts these scans, and a mean of ``hd95_mm`` must be read with it.

Sources: 95 % Hausdorff distance and surface Dice as in Nikolov et al. 2018 (arXiv:1809.04430) and Reinke et al. 2021
(arXiv:2111.05408), with a voxel of the surface as the unit of area, as MONAI counts; a voxel is of the surface if one
of its six neighbors is not of the class or lies outside the scan.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.metrics.curves import Floats, ratio
from voxray.metrics.lesions import Lesions, count_lesions
from voxray.metrics.metric import Metric

Labels = NDArray[Any]
Bools = NDArray[np.bool_]
Regions = Sequence[Sequence[int]]

TOLERANCE_MM = 1.0
# Distances on a grid are often exactly the tolerance, but for rounding.
ROUNDING = 1 + 1e-6
TASKS = ("segmentation",)


@dataclass(frozen=True, eq=False)
class ClassVoxels:
    """One class of one scan, or of a whole split: its voxels by truth and prediction.

    Attributes
    ----------
    tp, fp, fn, tn : float
        Voxel counts. Counts of parts of the data add up to those of the whole.
    truth, prediction : ndarray of bool, optional
        Masks of the class, cut to the smallest box around both; None where only counts are kept, as in validation
        after an epoch.
    ignored : ndarray of bool, optional
        Voxels in the same box that are not labeled: of neither mask, and what is beside them is not of a surface for
        that.
    spacing_mm : sequence of float
        For each axis of the masks.
    tolerance_mm : float
        A surface is right where the other one is no further away; for surface Dice.
    """

    tp: float
    fp: float
    fn: float
    tn: float
    truth: Bools | None = None
    prediction: Bools | None = None
    spacing_mm: Sequence[float] = ()
    tolerance_mm: float = TOLERANCE_MM
    ignored: Bools | None = None

    @property
    def true_size(self) -> float:
        """Voxels of the class in the truth."""
        return self.tp + self.fn

    @property
    def predicted_size(self) -> float:
        """Voxels of the class in the prediction."""
        return self.tp + self.fp

    @cached_property
    def distances(self) -> tuple[Floats, Floats]:
        """`surface_distances` of the masks, in mm."""
        if self.truth is None or self.prediction is None:
            raise ValueError("distances need the masks of a scan; set per_epoch=False for this metric")
        return surface_distances(self.truth, self.prediction, self.spacing_mm, self.ignored)

    @property
    def has_surfaces(self) -> bool:
        """Whether truth and prediction have a surface; without ignored voxels where they have the class."""
        return all(map(len, self.distances))

    @cached_property
    def lesions(self) -> Lesions:
        """Connected components of the masks."""
        if self.truth is None or self.prediction is None:
            raise ValueError("lesions need the masks of a scan; set per_epoch=False for this metric")
        return count_lesions(self.truth, self.prediction)

    @property
    def one_is_empty(self) -> bool:
        """Whether exactly one of truth and prediction has the class."""
        return bool(self.true_size) != bool(self.predicted_size)


def class_voxels(
    truth: Labels,
    prediction: Labels,
    spacing_mm: Sequence[float],
    classes: int,
    tolerance_mm: float = TOLERANCE_MM,
    *,
    regions: Regions = (),
    ignored: Bools | None = None,
) -> list[ClassVoxels]:
    """The voxels of each of the labels 1 … classes − 1, or of each region.

    Parameters
    ----------
    truth, prediction : ndarray of int, (x, y, z)
        Label maps in the scan's own voxels; 0 is background.
    spacing_mm : (x, y, z)
        Of the scan itself, not of the network's input.
    classes : int
        Background included.
    tolerance_mm : float
    regions : sequence of sequence of int
        The labels that each class but the background consists of, where it is not one label.
    ignored : ndarray of bool, (x, y, z), optional
        Voxels that do not count.

    Raises
    ------
    ScanError
        The shapes differ, a value is no label, or a spacing is not positive.
    """
    from scipy.ndimage import find_objects

    members = regions or [(label,) for label in range(1, classes)]
    last = max(map(max, members), default=0)
    truth, prediction = counted_labels(truth, prediction, last + 1, ignored)
    _check_spacing(spacing_mm, truth.ndim)
    # In a single slice a voxel is of the surface by its neighbors in the slice only.
    axes = [axis for axis, voxels in enumerate(truth.shape) if voxels != 1] or [0]
    shape, spacing = [truth.shape[axis] for axis in axes], [spacing_mm[axis] for axis in axes]
    truth, prediction = truth.reshape(shape), prediction.reshape(shape)
    unknown = None if ignored is None else ignored.reshape(shape)
    counted = truth.size - (0 if unknown is None else int(np.count_nonzero(unknown)))
    boxes = list(zip(find_objects(truth, last), find_objects(prediction, last), strict=True))
    found = []
    for labels in members:
        box = _joint_box([box for label in labels for box in boxes[label - 1] if box is not None], truth.ndim)
        if unknown is not None:
            box = _with_neighbors(box)
        true, predicted = of_labels(truth[box], labels), of_labels(prediction[box], labels)
        tp = int(np.count_nonzero(true & predicted))
        fp, fn = int(np.count_nonzero(predicted)) - tp, int(np.count_nonzero(true)) - tp
        masks = true, predicted, spacing, tolerance_mm, None if unknown is None else unknown[box]
        found.append(ClassVoxels(tp, fp, fn, counted - tp - fp - fn, *masks))
    return found


def counted_labels(truth: Labels, prediction: Labels, labels: int, ignored: Bools | None) -> tuple[Labels, Labels]:
    """Checked label maps with background where a voxel does not count; errors are those of `check_labels`."""
    if ignored is not None and truth.shape == prediction.shape:
        truth, prediction = (np.where(ignored, np.zeros((), each.dtype), each) for each in (truth, prediction))
    check_labels(truth, prediction, labels)
    return truth, prediction


def of_labels(numbers: Labels, labels: Sequence[int]) -> Bools:
    """Where a label map has one of some labels."""
    return numbers == labels[0] if len(labels) == 1 else np.isin(numbers, labels)


def _with_neighbors(box: tuple[slice, ...]) -> tuple[slice, ...]:
    """A box with one more voxel on each side, because those beside an ignored one are not of a surface for that."""
    return tuple(slice(max(0, side.start - 1), side.stop + 1) for side in box)


def _joint_box(boxes: Sequence[tuple[slice, ...]], axes: int) -> tuple[slice, ...]:
    """The smallest box around all of them; an empty one without any."""
    joint = tuple(slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
    return joint or (slice(0),) * axes


def check_labels(truth: Labels, prediction: Labels, classes: int) -> None:
    """Raise ScanError if label maps differ in shape, or a value is no label."""
    if truth.shape != prediction.shape:
        raise ScanError("prediction", f"expected the shape {truth.shape} of the truth, got {prediction.shape}")
    for where, labels in (("truth", truth), ("prediction", prediction)):
        if not np.issubdtype(labels.dtype, np.integer):
            raise ScanError(where, f"expected whole numbers, got {labels.dtype}")
        wrong = [int(end) for end in (labels.min(initial=0), labels.max(initial=0)) if not 0 <= end < classes]
        if wrong:
            raise ScanError(where, f"holds the value {wrong[0]}, but labels are 0 to {classes - 1}")


def _check_spacing(spacing_mm: Sequence[float], axes: int) -> None:
    if len(spacing_mm) != axes or not all(0 < step < math.inf for step in spacing_mm):
        raise ScanError("spacing_mm", f"expected a positive number for each of {axes} axes, got {spacing_mm}")


def surface_distances(
    truth: Bools, prediction: Bools, spacing_mm: Sequence[float], ignored: Bools | None = None
) -> tuple[Floats, Floats]:
    """Distance in mm from each voxel of one surface to the nearest of the other.

    Parameters
    ----------
    truth, prediction : ndarray of bool, of one shape
        What lies outside the arrays is taken as not of the class.
    spacing_mm : sequence of float, for each axis
    ignored : ndarray of bool, optional
        Voxels of neither mask that may be of the class: a surface does not end there.

    Returns
    -------
    there : ndarray, one for each voxel of the surface of `prediction`
    back : ndarray, one for each voxel of the surface of `truth`
        Infinite where there is no other surface.
    """
    from scipy.ndimage import binary_erosion

    def surface(mask: Bools) -> Bools:
        if not mask.any():
            return mask
        inner: Bools = binary_erosion(mask if ignored is None else mask | ignored)
        return mask & ~inner

    true, predicted = surface(truth), surface(prediction)
    return _distances(predicted, true, spacing_mm), _distances(true, predicted, spacing_mm)


def dice(voxels: ClassVoxels) -> float:
    """Twice the common volume over the sum of both volumes."""
    return float(ratio(2 * voxels.tp, voxels.true_size + voxels.predicted_size))


def sensitivity(voxels: ClassVoxels) -> float:
    """Share of the true volume that is found."""
    return float(ratio(voxels.tp, voxels.true_size))


def volume_error(voxels: ClassVoxels) -> float:
    """Difference of the volumes as a share of the true one."""
    difference = abs(voxels.predicted_size - voxels.true_size)
    return float(ratio(difference, voxels.true_size)) if voxels.true_size else math.nan


def hd95_mm(voxels: ClassVoxels) -> float:
    """The larger of the 95th percentiles of the distances from one surface to the other and back."""
    if voxels.one_is_empty or not voxels.has_surfaces:
        return math.nan
    return max(float(np.percentile(distances, 95)) for distances in voxels.distances)


def surface_dice(voxels: ClassVoxels) -> float:
    """Share of both surfaces that is within the tolerance of the other one."""
    if not voxels.one_is_empty and not voxels.has_surfaces:
        return math.nan
    limit = voxels.tolerance_mm * ROUNDING
    near = sum(int(np.count_nonzero(distances <= limit)) for distances in voxels.distances)
    return float(ratio(near, sum(map(len, voxels.distances))))


def missed(voxels: ClassVoxels) -> float:
    """1 if exactly one of truth and prediction has the class."""
    return float(voxels.one_is_empty)


def _distances(start: Bools, goal: Bools, spacing_mm: Sequence[float]) -> Floats:
    """From each voxel of `start` to the nearest of `goal`.

    A tree of the goal's voxels gives the distances of a distance transform, but does not visit the space between: it
    is faster by half on large organs, and many times faster where a stray voxel makes the box large.
    """
    from scipy.spatial import KDTree

    distances = np.zeros(np.count_nonzero(start))
    if not goal.any():
        return np.full_like(distances, math.inf)
    apart = ~goal[start]
    tree = KDTree(np.argwhere(goal) * np.asarray(spacing_mm), leafsize=32)
    distances[apart] = tree.query(np.argwhere(start)[apart] * np.asarray(spacing_mm))[0]
    return distances


_NEITHER = "no scan has the class in truth or prediction"
_NO_TRUTH = "no scan has the class in its truth"

DICE = Metric(
    "dice",
    "Dice",
    dice,
    "twice the common volume over the sum of both volumes; 1 is a perfect match",
    TASKS,
    undefined=_NEITHER,
    class_mean=True,
)
SURFACE_DICE = Metric(
    "surface_dice",
    "Surface Dice",
    surface_dice,
    "share of both surfaces that lies within {tolerance_mm:g} mm of the other; 1 is perfect",
    TASKS,
    undefined=_NEITHER,
    per_epoch=False,
    in_terminal=False,
)
HD95_MM = Metric(
    "hd95_mm",
    "HD95",
    hd95_mm,
    "95th percentile of the distances between both surfaces; 0 is perfect",
    TASKS,
    higher_is_better=False,
    undefined="no scan has the class in truth and prediction",
    unit="mm",
    bounds=(0, math.inf),
    digits=2,
    per_epoch=False,
    in_terminal=False,
)
SENSITIVITY = Metric(
    "sensitivity",
    "Sensitivity",
    sensitivity,
    "share of the true volume that is found",
    TASKS,
    undefined=_NO_TRUTH,
    per_epoch=False,
    in_terminal=False,
)
VOLUME_ERROR = Metric(
    "volume_error",
    "Volume error",
    volume_error,
    "difference of the volumes as a share of the true one; 0 is perfect",
    TASKS,
    higher_is_better=False,
    undefined=_NO_TRUTH,
    bounds=(0, math.inf),
    per_epoch=False,
    in_terminal=False,
)
MISSED = Metric(
    "missed",
    "Missed",
    missed,
    "scans where exactly one of truth and prediction has the class; HD95 leaves them out",
    TASKS,
    higher_is_better=False,
    bounds=(0, math.inf),
    digits=0,
    per_epoch=False,
    interval=False,
    in_terminal=False,
    summed=True,
)
