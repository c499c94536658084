"""Label maps over scans: planes in the radiological view, and contours of the labels. Arrays in, arrays out.

All axes are RAS+, and both axes of a plane run against the index: the patient's right, or anterior in a sagittal
plane, is on the left, and anterior or superior is up.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import contourpy
import numpy as np
from numpy.typing import NDArray

MARGIN_MM = 25.0
MARGIN_SHARE = 0.6
LOW_HIGH = (0.5, 99.5)

Points = NDArray[np.float64]


@dataclass(frozen=True)
class PlaneAxes:
    """A plane: its name, the axis it cuts, those across and up, and the directions at its left and top."""

    name: str
    cut: int
    across: int
    up: int
    left: str
    top: str


AXIAL = PlaneAxes("axial", 2, 0, 1, "R", "A")
PLANES = (AXIAL, PlaneAxes("coronal", 1, 0, 2, "R", "S"), PlaneAxes("sagittal", 0, 1, 2, "A", "S"))


def take_plane(volume: NDArray[Any], plane: PlaneAxes, index: int) -> NDArray[Any]:
    """One plane of a volume (x, y, z) as it is displayed, (line, column)."""
    # The remaining axes keep their order, and `across` comes before `up` in all three planes.
    # No `take`, which would first copy a volume whose axes are turned.
    pixels: NDArray[Any] = volume[(slice(None),) * plane.cut + (index,)]
    return pixels[::-1, ::-1].T


def outlines(mask: NDArray[np.bool_]) -> list[Points]:
    """Closed lines (n, 2) around the pixels of a mask (line, column).

    Their points (column, line) are halfway between a pixel inside and one outside; a pixel's center is at its index
    plus one half, so that a picture's edges are at 0 and at its size. The last point of each line is its first.
    """
    if not mask.any():
        return []
    # The frame of zeros closes what touches the edge.
    lines = contourpy.contour_generator(z=np.pad(mask, 1).astype(np.float64)).lines(0.5)
    return [np.asarray(line, np.float64) - 0.5 for line in lines]


def center_of(truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> tuple[int, int, int]:
    """The voxel nearest to the center of the true foreground; of the predicted one where that is empty."""
    for labels in (truth, prediction):
        if labels.any():
            x, y, z = (round(float(indices.mean())) for indices in np.nonzero(labels))
            return x, y, z
    x, y, z = (size // 2 for size in truth.shape)
    return x, y, z


def foreground_span(labels: Sequence[NDArray[np.uint8]], axis: int) -> tuple[int, int]:
    """Start and stop of the foreground of some label maps along an axis; the whole axis if all are empty."""
    others = tuple(other for other in range(3) if other != axis)
    labeled = np.flatnonzero(np.logical_or.reduce([label_map.any(axis=others) for label_map in labels]))
    return (int(labeled[0]), int(labeled[-1]) + 1) if len(labeled) else (0, labels[0].shape[axis])


def crop_box(labels: Sequence[NDArray[np.uint8]], spacing_mm: Sequence[float]) -> tuple[slice, slice, slice]:
    """The displayed part of a scan: the foreground with a margin, inside the scan."""
    spans = [foreground_span(labels, axis) for axis in range(3)]
    largest = max((end - start) * step for (start, end), step in zip(spans, spacing_mm, strict=True))
    margin = max(MARGIN_MM, MARGIN_SHARE * largest)
    x, y, z = (
        slice(max(0, start - round(margin / step)), min(size, end + round(margin / step)))
        for (start, end), step, size in zip(spans, spacing_mm, labels[0].shape, strict=True)
    )
    return x, y, z


def display_range(channel: NDArray[Any], window: Sequence[float] | None) -> tuple[float, float]:
    """The intensities of black and white: the window, or else two percentiles."""
    low, high = window if window is not None else np.percentile(channel, LOW_HIGH)
    return float(low), float(high)


def to_gray(pixels: NDArray[Any], low: float, high: float) -> NDArray[np.uint8]:
    """Black at `low` and below, white at `high` and above."""
    share = (pixels.astype(np.float64) - low) / ((high - low) or 1)
    return np.round(255 * np.clip(np.nan_to_num(share), 0, 1)).astype(np.uint8)


def lighter(color: str, share: float) -> str:
    """A color ``#rrggbb`` with a share of white in it."""
    parts = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{round(part + (255 - part) * share):02x}" for part in parts)
