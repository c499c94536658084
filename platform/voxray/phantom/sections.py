"""Nodules and vessels as stacks of cross sections.

A lung nodule and a vessel that runs through the slices differ in one thing only: what their cross section does from
slice to slice. Both are therefore painted by one function from one kind of cross section, drawn from one distribution:
a single slice cannot tell them apart, because nothing in it differs. Lengths are body millimeters (see `chest`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.phantom.chest import Chest, Floats, Grid, Voxels, lung_depth_mm

SMALL_MM = (4.0, 8.0)  # diameters that nodules and vessels share
LARGE_MM = (8.0, 25.0)  # only nodules grow so large
LARGE_SHARE = 0.2


@dataclass(frozen=True)
class Section:
    """A cross section: an ellipse with three shallow lobes and a soft edge.

    Attributes
    ----------
    radius_mm : float
        Radius of the circle of the same area.
    aspect, angle : float
        Long axis divided by short axis, and the direction of the long axis from x, radians.
    lobes, lobe_angle : float
        Height of the lobes as a part of the radius, and where they stand.
    edge_mm : float
        Width over which the density falls from all to nothing.
    hu : float
        Density at the center.
    """

    radius_mm: float
    aspect: float
    angle: float
    lobes: float
    lobe_angle: float
    edge_mm: float
    hu: float

    @property
    def reach_mm(self) -> float:
        """No part of the section lies farther from its center than this."""
        return self.radius_mm * math.sqrt(self.aspect) * (1 + self.lobes) + self.edge_mm / 2


@dataclass(frozen=True)
class Stack:
    """A section, given at the anchor, that moves and changes its size along z.

    Attributes
    ----------
    slope, bend : (x, y)
        Drift of the center per mm of z, and per mm² of it.
    below_mm, above_mm : float
        How far the stack extends from its anchor.
    taper : float, optional
        None for a nodule, whose size is that of an ellipsoid: 1 at the anchor and 0 at both ends. For a vessel, the
        part by which it is wider at the upper end and narrower at the lower than at its anchor.
    """

    section: Section
    anchor_mm: tuple[float, float, float]
    slope: tuple[float, float]
    bend: tuple[float, float]
    below_mm: float
    above_mm: float
    taper: float | None

    @property
    def is_vessel(self) -> bool:
        """Whether the section continues through the slices instead of vanishing."""
        return self.taper is not None

    def center_at(self, z: Floats) -> tuple[Floats, Floats]:
        """Where the section's center is (x, y) at heights z, also beyond the ends."""
        away = z - self.anchor_mm[2]
        x, y = (self.anchor_mm[axis] + away * (self.slope[axis] + away * self.bend[axis]) for axis in (0, 1))
        return x, y

    def scale_at(self, z: Floats) -> Floats:
        """The section's size at heights z as a multiple of that at the anchor; 0 beyond the ends."""
        away = z - self.anchor_mm[2]
        part = away / np.where(away < 0, self.below_mm, self.above_mm)
        if self.taper is None:
            return np.sqrt(np.maximum(1 - part * part, 0))
        # A vessel's ends are round.
        return (1 + self.taper * part) * np.sqrt(np.maximum(1 - part**24, 0))


def draw_section(rng: np.random.Generator, smallest_mm: float, largest_mm: float) -> Section:
    """Draw the looks of a cross section, nodules and vessels alike; its diameter in mm is uniform in its logarithm."""
    diameter_mm = np.exp(rng.uniform(np.log(smallest_mm), np.log(max(smallest_mm, largest_mm))))
    return Section(
        radius_mm=float(diameter_mm) / 2,
        aspect=rng.uniform(1.0, 1.35),
        angle=rng.uniform(0, np.pi),
        lobes=rng.uniform(0.0, 0.10),
        lobe_angle=rng.uniform(0, 2 * np.pi),
        edge_mm=rng.uniform(0.8, 1.6),
        hu=rng.uniform(-200, 80),
    )


def draw_nodule(rng: np.random.Generator, section: Section, anchor_mm: Floats, slice_mm: float) -> Stack:
    """Draw a nodule at an anchor (3,): the section shrinks to nothing above and below; it leans, as vessels do."""
    half = section.radius_mm * rng.uniform(0.85, 1.15, 2)
    # A slice is an average over its thickness, which makes small things look taller.
    below, above = np.hypot(half, 0.6 * slice_mm)
    return _stack(section, anchor_mm, _lean(rng, 20.0), np.zeros(2), float(below), float(above), None)


def draw_vessel(rng: np.random.Generator, section: Section, anchor_mm: Floats, chest: Chest, slice_mm: float) -> Stack:
    """Draw a vessel through an anchor (3,): the section extends 18 to 32 mm both ways, within 35° of z.

    It stays in the lung near its anchor. Raising it upright until it does, instead of drawing another place for it,
    keeps the places of vessels distributed like those of nodules.
    """
    below, above = rng.uniform(18, 32, 2)
    slope, bend = _lean(rng, 35.0), rng.uniform(-0.006, 0.006, 2)
    taper = rng.uniform(-0.15, 0.15)
    near = anchor_mm[2] + np.linspace(-7, 7, 15) * slice_mm
    for upright in (1.0, 0.75, 0.5, 0.25, 0.0):
        stack = _stack(section, anchor_mm, slope * upright, bend * upright, float(below), float(above), taper)
        depth = lung_depth_mm(chest, *stack.center_at(near), near)
        if depth[np.abs(near) < 0.8 * chest.lung_mm[2]].min(initial=np.inf) > 0:
            break
    return stack


def draw_twig(rng: np.random.Generator, anchor_mm: Floats) -> Stack:
    """Draw a thin vessel through an anchor (3,), at a low angle to the slices: clutter around both kinds alike."""
    slope = rng.uniform(0.8, 3.0)
    angle = rng.uniform(0, 2 * np.pi)
    section = Section(
        radius_mm=rng.uniform(0.4, 0.9) * (1 + slope * slope) ** 0.25,
        aspect=(1 + slope * slope) ** 0.5,  # a tilted cylinder cut by a slice
        angle=angle,
        lobes=0.0,
        lobe_angle=0.0,
        edge_mm=rng.uniform(0.8, 1.6),
        hu=rng.uniform(-250, 0),
    )
    below, above = rng.uniform(4, 14, 2)
    direction = slope * np.array([np.cos(angle), np.sin(angle)])
    return _stack(section, anchor_mm, direction, rng.uniform(-0.03, 0.03, 2), float(below), float(above), 0.0)


def paint_stack(voxels: Voxels, grid: Grid, chest: Chest, stack: Stack) -> None:
    """Paint a stack in place where it is denser than what is there already; a vessel ends where it leaves the lung."""
    section = stack.section
    slices, centers, scale = _slices_inside(grid, chest, stack)
    margin = int(np.ceil(section.reach_mm * 1.2 / grid.spacing_mm[0])) + 1
    middle = np.rint(centers).astype(np.int64)
    limit = np.array(grid.shape[:2])
    fits = np.all((middle >= margin) & (middle < limit - margin), axis=1)
    slices, centers, scale, middle = slices[fits], centers[fits], scale[fits], middle[fits]
    tile = np.arange(-margin, margin + 1)
    off_mm = (tile - (centers - middle)[..., np.newaxis]) * grid.spacing_mm[0]
    share = _coverage(section, scale, off_mm[:, 0].astype(np.float32), off_mm[:, 1].astype(np.float32))
    where = (
        slices[:, np.newaxis, np.newaxis],
        (middle[:, 1, np.newaxis] + tile)[:, :, np.newaxis],
        (middle[:, 0, np.newaxis] + tile)[:, np.newaxis, :],
    )
    before = voxels[where]
    after = before + share * (np.float32(section.hu) - before)
    voxels[where] = np.maximum(before, np.rint(after).astype(np.int16))


def _coverage(section: Section, scale: Floats, x: NDArray[np.float32], y: NDArray[np.float32]) -> NDArray[np.float32]:
    """How much of each pixel the section covers, 0 to 1, (slices, y, x), for offsets x and y (slices, n) in mm."""
    cosine, sine = np.float32(np.cos(section.angle)), np.float32(np.sin(section.angle))
    stretch = np.float32(section.aspect**0.5)
    radius = (section.radius_mm * scale).astype(np.float32)[:, np.newaxis, np.newaxis]
    x_tile, y_tile = x[:, np.newaxis, :] / radius, y[:, :, np.newaxis] / radius
    u = (cosine * x_tile + sine * y_tile) / stretch
    v = (cosine * y_tile - sine * x_tile) * stretch
    uu, vv = u * u, v * v
    distance = np.sqrt(uu + vv)
    # cos and sin of three times the angle, times the distance cubed.
    wave = np.float32(np.cos(section.lobe_angle)) * (u * (uu - 3 * vv))
    wave += np.float32(np.sin(section.lobe_angle)) * (v * (3 * uu - vv))
    border = 1 + np.float32(section.lobes) * wave / np.maximum(distance, np.float32(1e-3)) ** 3
    share = np.clip((border - distance) * (radius / np.float32(section.edge_mm)) + np.float32(0.5), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _slices_inside(
    grid: Grid, chest: Chest, stack: Stack
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """The slices that a stack reaches without a break from its anchor: indices, centers (n, 2) in voxels, sizes."""
    heights = grid.axis_mm(2).astype(np.float64)
    x, y = stack.center_at(heights)
    scale = stack.scale_at(heights)
    there = scale > 0.05
    if stack.is_vessel:
        there &= lung_depth_mm(chest, x, y, heights) > -0.7 * stack.section.radius_mm
    start = int(np.argmin(np.abs(heights - stack.anchor_mm[2])))
    gaps = np.flatnonzero(~there)
    first = int(gaps[gaps < start].max(initial=-1)) + 1
    last = int(gaps[gaps > start].min(initial=heights.size))
    slices = np.arange(first, last)[there[first:last]]
    points = np.stack([x, y, heights], axis=-1)[slices]
    return slices, grid.index_of(points)[:, :2], np.asarray(scale[slices], np.float64)


def _lean(rng: np.random.Generator, most_degrees: float) -> NDArray[np.float64]:
    """A drift (x, y) per mm of z, at most so many degrees from upright."""
    angle = rng.uniform(0, 2 * np.pi)
    steepness = math.tan(math.radians(rng.uniform(0, most_degrees)))
    return np.array([steepness * math.cos(angle), steepness * math.sin(angle)])


def _stack(
    section: Section,
    anchor_mm: Floats,
    slope: Floats,
    bend: Floats,
    below_mm: float,
    above_mm: float,
    taper: float | None,
) -> Stack:
    """A stack of plain Python numbers."""
    anchor, drift, curve = (tuple(vector.tolist()) for vector in (anchor_mm, slope, bend))
    return Stack(section, anchor, drift, curve, below_mm, above_mm, taper)
