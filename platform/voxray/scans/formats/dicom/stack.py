"""From the positions of single slices to one regular grid, or the reason why there is none. Pure."""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.dicom.headers import OFF_DIRECTION, Slice
from voxray.scans.geometry import LPS_TO_RAS

OFF_POSITION = 0.05  # headers round: a slice may be this share of a slice distance off its position
MOST_TILT_DEGREES = 0.5
OFF_SAME_MM = 1e-3

Vector = NDArray[np.float64]


def stack_slices(slices: Sequence[Slice], where: str) -> tuple[list[Slice], Vector]:
    """Sort the slices of one series along their normal.

    Returns
    -------
    list of Slice
        In the order of the third axis.
    ndarray, (4, 4)
        Index (column, row, slice) to world millimeters, RAS.

    Raises
    ------
    ScanError
        Sizes or directions differ, a slice is missing or duplicated, distances differ, or the gantry was tilted.
    """
    first = slices[0]
    _check_alike(slices, where)
    normal = np.cross(*first.directions)
    heights = np.array([frame.position for frame in slices]) @ normal
    order = np.argsort(heights, kind="stable")
    ordered = [slices[index] for index in order]
    step = _step(ordered, heights[order], normal, where)
    affine = np.eye(4)
    affine[:3, :2] = first.directions.T * first.spacing_mm
    affine[:3, 2] = step
    affine[:3, 3] = ordered[0].position
    return ordered, LPS_TO_RAS @ affine


def _check_alike(slices: Sequence[Slice], where: str) -> None:
    """Raise ScanError unless all slices have one size, one spacing and one direction."""
    first = slices[0]
    shapes = sorted({frame.shape for frame in slices})
    if len(shapes) > 1:
        raise ScanError(where, f"mixes slices of {' and '.join(f'{x}x{y}' for x, y in shapes)} voxels")
    spacings = np.array([frame.spacing_mm for frame in slices])
    if np.ptp(spacings, axis=0).max() > OFF_DIRECTION * spacings.max():
        raise ScanError(where, f"mixes pixel spacings from {spacings.min():g} to {spacings.max():g} mm")
    directions = np.array([frame.directions for frame in slices])
    if np.abs(directions - first.directions).max() > OFF_DIRECTION:
        raise ScanError(where, "its slices face different directions", "Give each direction a series of its own")


def _step(ordered: Sequence[Slice], heights: Vector, normal: Vector, where: str) -> Vector:
    """The vector from a slice to the next one, mm, LPS."""
    if len(ordered) == 1:
        if ordered[0].thickness_mm is None:
            raise ScanError(where, "is a single slice without SliceThickness")
        thick: Vector = normal * ordered[0].thickness_mm
        return thick
    _check_copies(ordered, heights, where)
    _check_heights(heights, where)
    positions = np.array([frame.position for frame in ordered])
    step: Vector = (positions[-1] - positions[0]) / (len(ordered) - 1)
    regular = positions[0] + np.arange(len(ordered))[:, None] * step
    if np.linalg.norm(positions - regular, axis=1).max() > OFF_POSITION * np.linalg.norm(step):
        raise ScanError(where, "its slices are not stacked in one line")
    tilt = np.degrees(np.arccos(min(1.0, float(step @ normal / np.linalg.norm(step)))))
    if tilt > MOST_TILT_DEGREES:
        problem = f"was taken with a gantry tilt of {tilt:.1f}°: its slices are not stacked at right angles"
        raise ScanError(where, problem, "Resample it to an upright grid first")
    return step


def _check_copies(ordered: Sequence[Slice], heights: Vector, where: str) -> None:
    """Raise ScanError if neighbors are copies of one image."""
    for (first, second), gap in zip(pairwise(ordered), np.diff(heights), strict=True):
        is_same = (first.instance, first.frame) == (second.instance, second.frame)
        if is_same and first.instance and abs(gap) < OFF_SAME_MM:
            names = " and ".join(sorted((first.path.name, second.path.name)))
            raise ScanError(where, f"holds an image twice (same SOPInstanceUID), in {names}", "Remove one of them")


def _check_heights(heights: Vector, where: str) -> None:
    """Raise ScanError unless sorted slices have equal distances along their normal."""
    gaps = np.diff(heights)
    mean = float(gaps.mean())
    same = int((gaps <= OFF_POSITION * max(mean, float(np.median(gaps)))).sum())
    if same:
        problem = f"{same} of {len(heights)} slices have the position of another one"
        raise ScanError(where, problem, "Give each time, echo or copy a series of its own")
    off = np.abs(heights - np.linspace(heights[0], heights[-1], len(heights))).max()
    if off <= OFF_POSITION * mean:
        return
    multiples = gaps / gaps.min()
    lost = int(np.rint(multiples).sum()) - len(gaps)
    if lost and np.abs(multiples - np.rint(multiples)).max() <= 2 * OFF_POSITION:
        at = heights[int((multiples > 1.5).argmax())]
        count, remedy = ("1 slice,", "Fetch it") if lost == 1 else (f"{lost} slices, the first", "Fetch them")
        raise ScanError(where, f"lacks {count} after {at:.1f} mm along the normal", remedy)
    raise ScanError(where, f"has unequal slice distances, from {gaps.min():g} to {gaps.max():g} mm")
