"""Vessels that branch from the hilum of a lung, and the airways beside them: what looks like nodules where it forks.

Lengths and places are body millimeters (see `chest`).
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.phantom.chest import Chest, Floats, Grid, Voxels, lung_depth_mm

Points = NDArray[np.float64]

NODE_MM = 8.0  # the mean distance of places that a tree supplies
MOST_NODES = 1000  # of a lung
TIP_MM = (0.4, 0.6)  # radius of the last branches
VESSEL_HU = (0.0, 60.0)
WALL_HU, LUMEN_HU = 0.0, -960.0  # of airways
LEAST_AIRWAY_MM = 0.9  # radius of the vessel beside it
EDGE_MM = 0.8
FINE_MM = 0.8  # a slice is an average over its thickness, taken at points this far apart
DETOUR = 0.3  # how much a longer way from the hilum counts against a nearer branch


@dataclass(frozen=True, eq=False)
class Tubes:
    """Straight pieces with round ends.

    Attributes
    ----------
    ends_mm : ndarray, (n, 2, 3)
    radii_mm : ndarray, (n,)
    """

    ends_mm: Points
    radii_mm: Points


@dataclass(frozen=True, eq=False)
class Trees:
    """The vessels and airways of both lungs.

    Attributes
    ----------
    vessels, airways : Tubes
        Radii of airways are those of the lumen.
    forks_mm, bends_mm : ndarray, (n, 3)
        Places in the lungs where a vessel divides, and places of an airway's middle.
    """

    vessels: Tubes
    airways: Tubes
    forks_mm: Points
    bends_mm: Points


def draw_trees(rng: np.random.Generator, chest: Chest) -> Trees:
    """Draw the trees of both lungs, and the trachea with the two bronchi that lead to them."""
    carina = np.array([0.0, 0.2 * chest.body_mm[1], 0.3 * chest.lung_mm[2]])
    top = carina + np.array([0.0, 0.0, 2 * chest.lung_mm[2]])
    windpipe = 0.055 * chest.body_mm[0]
    vessels, airways, radii, widths = [], [np.stack([top, carina])[np.newaxis]], [], [np.array([windpipe])]
    forks, bends = [], []
    for side in (-1.0, 1.0):
        nodes, parents, radius = _grow(rng, chest, side)
        starts = nodes[parents[1:]]
        vessels.append(np.stack([starts, nodes[1:]], axis=1))
        radii.append(radius[1:])
        forks.append(nodes[np.bincount(parents[1:], minlength=len(nodes)) > 1][1:])
        # Airways run beside the vessels, on the side of the hilum that is nearer to the carina.
        beside = nodes + np.outer(2.2 * radius, (-side * 0.6, 0.8, 0.0))
        wide = np.flatnonzero(radius[1:] >= LEAST_AIRWAY_MM) + 1
        bronchus = np.stack([carina, beside[0]])[np.newaxis]
        airways += [bronchus, np.stack([beside[parents[wide]], beside[wide]], axis=1)]
        widths += [np.array([0.6 * windpipe]), 0.8 * radius[wide]]
        bends.append(beside[wide])
    inside = [points[lung_depth_mm(chest, *points.T) > 2] for points in map(np.concatenate, (forks, bends))]
    return Trees(
        Tubes(np.concatenate(vessels), np.concatenate(radii)),
        Tubes(np.concatenate(airways), np.concatenate(widths)),
        *inside,
    )


def paint_trees(rng: np.random.Generator, voxels: Voxels, grid: Grid, trees: Trees) -> None:
    """Paint vessels, then the walls and the air of airways, in place."""
    for ends, radius in zip(trees.vessels.ends_mm, trees.vessels.radii_mm.tolist(), strict=True):
        _paint_tube(voxels, grid, ends, radius, float(rng.uniform(*VESSEL_HU)))
    for walls in (True, False):
        for ends, radius in zip(trees.airways.ends_mm, trees.airways.radii_mm.tolist(), strict=True):
            wall_mm = max(0.5, 0.3 * radius)
            _paint_tube(voxels, grid, ends, radius + wall_mm if walls else radius, WALL_HU if walls else LUMEN_HU)


def _grow(rng: np.random.Generator, chest: Chest, side: float) -> tuple[Points, NDArray[np.int64], Points]:
    """A tree from the hilum of a lung to places all over it: nodes (n, 3), the parent of each, radii (n,).

    Each place is supplied by the nearest node that is nearer to the hilum; a vessel's radius cubed is the sum of those
    of its branches (Murray 1926).
    """
    hilum = np.array([side * (chest.lung_center_mm[0] - 0.75 * chest.lung_mm[0]), 0.15 * chest.lung_mm[1], 0.0])
    volume = 4 / 3 * math.pi * math.prod(chest.lung_mm)
    count = int(np.clip(volume / NODE_MM**3, 3, MOST_NODES))
    half = np.array([1.2 * chest.lung_mm[0], *chest.lung_mm[1:]])
    places = rng.uniform(-1, 1, (6 * count, 3)) * half + (side * chest.lung_center_mm[0], 0, 0)
    places = places[lung_depth_mm(chest, *places.T) > 1.5][:count]
    nodes = np.concatenate([hilum[np.newaxis], places[np.argsort(np.linalg.norm(places - hilum, axis=1))]])
    parents, way = np.zeros(len(nodes), np.int64), np.zeros(len(nodes))
    for number in range(1, len(nodes)):
        away = np.linalg.norm(nodes[:number] - nodes[number], axis=1)
        parents[number] = np.argmin(away + DETOUR * way[:number])
        way[number] = way[parents[number]] + away[parents[number]]
    leaves = np.bincount(parents[1:], minlength=len(nodes)) == 0
    flow = leaves.astype(np.float64)
    for number in range(len(nodes) - 1, 0, -1):
        flow[parents[number]] += flow[number]
    return nodes, parents, np.asarray(float(rng.uniform(*TIP_MM)) * np.cbrt(flow))


def _paint_tube(voxels: Voxels, grid: Grid, ends_mm: Points, radius_mm: float, hu: float) -> None:
    """Paint a tube in place where it is denser than what is there, or where it holds air."""
    reach = radius_mm + EDGE_MM / 2
    low = np.floor(grid.index_of(ends_mm.min(axis=0) - reach)).astype(int)
    high = np.ceil(grid.index_of(ends_mm.max(axis=0) + reach)).astype(int) + 1
    low, high = np.maximum(low, 0), np.minimum(high, grid.shape)
    if (high <= low).any():
        return
    fine = max(1, round(grid.spacing_mm[2] / FINE_MM))
    x, y, z = (
        (_positions(grid, axis, low[axis], high[axis], parts) - ends_mm[0, axis]).astype(np.float32).reshape(shape)
        for axis, (parts, shape) in enumerate(((1, (1, 1, -1)), (1, (1, -1, 1)), (fine, (-1, 1, 1))))
    )
    along = (ends_mm[1] - ends_mm[0]).astype(np.float32)
    part = np.clip((x * along[0] + y * along[1] + z * along[2]) / max(float(along @ along), 1e-6), 0, 1)
    squared = (x - part * along[0]) ** 2 + (y - part * along[1]) ** 2 + (z - part * along[2]) ** 2
    share = np.clip((np.float32(radius_mm) - np.sqrt(squared)) * np.float32(1 / EDGE_MM) + np.float32(0.5), 0, 1)
    share = share.reshape(-1, fine, *share.shape[1:]).mean(axis=1)
    box = voxels[tuple(slice(a, b) for a, b in zip(low[::-1], high[::-1], strict=True))]
    after = np.rint(box + share * (np.float32(hu) - box)).astype(np.int16)
    (np.minimum if hu < LUMEN_HU + 1 else np.maximum)(box, after, out=box)


def _positions(grid: Grid, axis: int, low: int, high: int, parts: int) -> Floats:
    """Positions in mm along an axis: so many points in each of some voxels, spread over its width."""
    places = (np.arange((high - low) * parts) + 0.5) / parts - 0.5 + low
    return np.asarray((places - (grid.shape[axis] - 1) / 2) * grid.spacing_mm[axis])
