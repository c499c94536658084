"""The fissures between the lobes of a lung: thin sheets, seen as lines in slices that cut them.

Lengths and places are body millimeters (see `chest`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.phantom.chest import Chest, Floats, Grid, Voxels, lung_depth_mm

Points = NDArray[np.float64]

THICKNESS_MM = (0.15, 0.3)
SHEET_HU = 40.0
DEPTH, HEIGHT = 1, 2  # the axes along which a sheet's place is given


@dataclass(frozen=True)
class Fissure:
    """A curved sheet in one lung: its place along an axis, over the two others.

    Attributes
    ----------
    side : float
        1 for the lung of the patient's left, -1 for the right one.
    axis : int
        1 for a sheet given by y over x and z, 2 for one given by z over x and y.
    middle_mm, slopes, bend : float, (float, float), float
        Its place in the lung's middle, the change per mm of each of the other axes, and per mm² of x.
    thickness_mm : float
    """

    side: float
    axis: int
    middle_mm: float
    slopes: tuple[float, float]
    bend: float
    thickness_mm: float

    def points(self, chest: Chest, x: Floats, other: Floats) -> tuple[Floats, Floats, Floats]:
        """Positions x, y and z of the sheet, for x and z, or for x and y."""
        across = x - self.side * chest.lung_center_mm[0]
        place = self.middle_mm + across * (self.slopes[0] + across * self.bend) + other * self.slopes[1]
        return (x, place, other) if self.axis == DEPTH else (x, other, place)


def draw_fissures(rng: np.random.Generator, chest: Chest) -> list[Fissure]:
    """Draw the oblique fissure of each lung, and the horizontal one of the right lung."""
    _, deep, high = chest.lung_mm
    fissures = []
    for side in (-1.0, 1.0):
        slopes = side * rng.uniform(-0.1, 0.3), rng.uniform(0.5, 0.8) * deep / high  # up and back
        middle = rng.uniform(-0.15, 0.15) * deep
        fissures.append(Fissure(side, DEPTH, middle, slopes, _bend(rng, chest), rng.uniform(*THICKNESS_MM)))
    slopes = rng.uniform(-0.15, 0.15), rng.uniform(-0.15, 0.15)
    level = rng.uniform(0.0, 0.15) * high
    fissures.append(Fissure(-1.0, HEIGHT, level, slopes, _bend(rng, chest), rng.uniform(*THICKNESS_MM)))
    return fissures


def points_on(rng: np.random.Generator, chest: Chest, fissure: Fissure, count: int) -> Points:
    """Up to so many points (n, 3) of a fissure."""
    x = fissure.side * (chest.lung_center_mm[0] + chest.lung_mm[0] * rng.uniform(-1, 1, 4 * count))
    other = chest.lung_mm[DEPTH + HEIGHT - fissure.axis] * rng.uniform(-0.8, 0.8, 4 * count)
    points = np.stack(fissure.points(chest, x, other), axis=-1)
    return np.asarray(points[lung_depth_mm(chest, *points.T) > 1][:count], np.float64)


def paint_fissure(voxels: Voxels, grid: Grid, chest: Chest, fissure: Fissure) -> None:
    """Paint a fissure in place where it is denser than what is there; thick slices show it faint and wide."""
    axis, other = fissure.axis, DEPTH + HEIGHT - fissure.axis
    columns = np.flatnonzero(fissure.side * grid.axis_mm(0) > 0)
    rows = np.arange(grid.shape[other])[:, np.newaxis]
    points = fissure.points(chest, grid.axis_mm(0)[columns][np.newaxis], grid.axis_mm(other)[:, np.newaxis])
    inside = lung_depth_mm(chest, *points) > 0
    step, count, tilt = grid.spacing_mm[axis], grid.shape[axis], fissure.slopes[1]
    # A voxel holds a slanting piece of the sheet: a triangle with the sheet's own area.
    width = max(step, abs(tilt) * grid.spacing_mm[other])
    peak = min(1.0, fissure.thickness_mm * math.hypot(1, tilt) / width)
    place = points[axis] / step + (count - 1) / 2
    nearest = np.floor(place).astype(int)
    for away in range(-math.ceil(width / step), math.ceil(width / step) + 2):
        at = np.clip(nearest + away, 0, count - 1)
        share = peak * np.clip(1 - np.abs(nearest + away - place) * (step / width), 0, 1) * inside
        where = (rows, at, columns) if axis == DEPTH else (at, rows, columns)
        before = voxels[where]
        voxels[where] = np.maximum(before, np.rint(before + share * (SHEET_HU - before)).astype(np.int16))


def _bend(rng: np.random.Generator, chest: Chest) -> float:
    return float(rng.uniform(-0.15, 0.15)) / chest.lung_mm[0]
