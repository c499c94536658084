"""Where the nodules and vessels of a chest are, and which places a candidate detector would propose.

What may tell a nodule from a vessel is its shape across slices and nothing else. So places are chosen before it is
decided which of them are nodules, and both kinds are proposed with the same inaccuracy.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.phantom.chest import Chest, Grid, lung_depth_mm
from voxray.phantom.sections import (
    LARGE_MM,
    LARGE_SHARE,
    SMALL_MM,
    Section,
    Stack,
    draw_nodule,
    draw_section,
    draw_twig,
    draw_vessel,
)

Points = NDArray[np.float64]

NODULE, VESSEL, ELSEWHERE = 0, 1, 2
NEGATIVES_PER_NODULE = (10, 15)
VESSEL_SHARE = 0.7  # of the negatives; the others lie at forks, airways, fissures, the wall, and anywhere else
PLEURAL_SHARE = 0.35  # of nodules and vessels that touch the lung's border
ATTACHED_SHARE = 0.5  # of them that a thin vessel leads to
_FREE_MM = 1.0  # between a finding's border in its own slice and any other
_MOST_FILLED = 0.1  # the part of the lungs' area that vessels may take in a small chest
_APART_MM = 6.0  # along z, beyond the half height of two neighbors
_TRIES = 12


@dataclass(frozen=True)
class Findings:
    """All that is in the lungs of a scan, to be painted, and the candidates, in body millimeters (see `chest`).

    Attributes
    ----------
    nodules : ndarray, (n, 4)
        Center x, y, z and diameter.
    candidates : ndarray, (m, 3)
        The first n belong to the nodules, in order, and all others are negatives.
    kinds : ndarray of int8, (m,)
        What a candidate is, `NODULE`, `VESSEL` or `ELSEWHERE`.
    """

    stacks: tuple[Stack, ...]
    nodules: Points
    candidates: Points
    kinds: NDArray[np.int8]


def place_findings(rng: np.random.Generator, grid: Grid, chest: Chest, nodules: int, lookalikes: Points) -> Findings:
    """Place so many nodules and vessels in a chest, and choose what a detector would report.

    A small chest gets fewer vessels than candidates on vessels, and these lie at several heights of each. `lookalikes`
    (n, 3) are other places that resemble nodules; some of them are candidates.
    """
    least, most = NEGATIVES_PER_NODULE
    negatives = int(rng.integers(least, most + 1, max(nodules, 1)).sum())
    on_vessels = round(VESSEL_SHARE * negatives)
    vessels = min(round(1.2 * on_vessels), _most_vessels(chest))
    sections = _draw_sections(rng, chest, nodules, vessels)
    anchors = _place_sections(rng, grid, chest, sections)
    placed = _draw_stacks(rng, grid, chest, sections, anchors, nodules)
    found = np.array([(*s.anchor_mm, 2 * s.section.radius_mm) for s in placed if not s.is_vessel]).reshape(-1, 4)
    points = _points_on_vessels(rng, grid, chest, placed, on_vessels)
    elsewhere = _points_elsewhere(rng, grid, chest, placed, negatives - len(points), lookalikes)
    free = _places_in_lung(rng, grid, chest, 0.0, np.inf)[:vessels]
    twigs = [draw_twig(rng, anchor) for anchor in np.concatenate([free, _borders(rng, sections, anchors)])]
    candidates = np.concatenate([found[:, :3], points, elsewhere])
    kinds = np.repeat(np.array([NODULE, VESSEL, ELSEWHERE], np.int8), [len(found), len(points), len(elsewhere)])
    return Findings((*placed, *twigs), found, candidates + _jitter(rng, len(candidates)), kinds)


def _most_vessels(chest: Chest) -> int:
    """How many vessels a chest has room for: all that are wanted in one of full size, fewer in a small one."""
    low, high = SMALL_MM
    section_mm2 = math.pi / 4 * (high**2 - low**2) / (2 * math.log(high / low))  # the mean area
    lungs_mm2 = 2 * math.pi * chest.lung_mm[0] * chest.lung_mm[1]
    return max(2, round(_MOST_FILLED * lungs_mm2 / section_mm2 * max(1.0, chest.lung_mm[2] / 25)))


def _draw_sections(rng: np.random.Generator, chest: Chest, nodules: int, vessels: int) -> list[Section]:
    """Sections of all nodules and vessels: the large ones, which can only be nodules, first."""
    largest_mm = 0.8 * min(chest.lung_mm[:2])
    large = int(rng.binomial(nodules, LARGE_SHARE)) if largest_mm > LARGE_MM[0] else 0
    ranges = [LARGE_MM] * large + [SMALL_MM] * (nodules - large + vessels)
    return [draw_section(rng, low, min(high, largest_mm)) for low, high in ranges]


def _place_sections(rng: np.random.Generator, grid: Grid, chest: Chest, sections: list[Section]) -> Points:
    """A place (n, 3) in a lung for each section, apart from each other as long as there is room.

    Which of them become nodules is decided later: it cannot have any influence on the places.
    """
    anchors = np.empty((0, 3))
    reach = np.array([section.reach_mm for section in sections])
    for number, section in enumerate(sections):
        deep = (section.reach_mm + _FREE_MM, np.inf)
        on_border = (0.0, 0.6 * section.radius_mm)
        places = _places_in_lung(rng, grid, chest, *(on_border if rng.random() < PLEURAL_SHARE else deep))
        off = np.abs(places[:, np.newaxis] - anchors)
        room = reach[:number] + section.reach_mm + _FREE_MM
        free = (off[..., 2] > _APART_MM + room / 2) | (np.hypot(off[..., 0], off[..., 1]) > room)
        anchors = np.concatenate([anchors, places[np.argmax(free.all(axis=1))][np.newaxis]])
    return anchors


def _places_in_lung(rng: np.random.Generator, grid: Grid, chest: Chest, least_mm: float, most_mm: float) -> Points:
    """Places (n, 3) spread evenly over the part of the lungs so deep; the deepest of all if no place is deep enough."""
    half = np.array([chest.lung_center_mm[0] + 1.2 * chest.lung_mm[0], *chest.lung_mm[1:]])
    points = rng.uniform(-1, 1, (600, 3)) * half * (1, 1, 0.85)
    points[:, 2] = _near_slices(rng, grid, points[:, 2])
    depth = lung_depth_mm(chest, *points.T)
    fits = (depth >= least_mm) & (depth <= most_mm)
    return np.asarray(points[fits if fits.any() else [np.argmax(depth)]])


def _borders(rng: np.random.Generator, sections: list[Section], anchors: Points) -> Points:
    """A place (n, 3) on the border of some sections, of nodules and vessels alike, in the slice of the anchor."""
    angle, radius = rng.uniform(0, 2 * np.pi, len(anchors)), np.array([section.radius_mm for section in sections])
    off = np.stack([radius * np.cos(angle), radius * np.sin(angle), np.zeros(len(anchors))], axis=-1)
    return np.asarray((anchors + off)[rng.random(len(anchors)) < ATTACHED_SHARE])


def _draw_stacks(
    rng: np.random.Generator, grid: Grid, chest: Chest, sections: list[Section], anchors: Points, nodules: int
) -> list[Stack]:
    """Decide at random which sections are nodules, and draw how all go on through the slices."""
    slice_mm = grid.spacing_mm[2]
    large = sum(2 * section.radius_mm >= LARGE_MM[0] for section in sections)
    is_nodule = np.arange(len(sections)) < nodules
    is_nodule[large:] = rng.permutation(is_nodule[large:])
    others = _as_tracks(anchors, np.array([section.reach_mm for section in sections]))
    stacks = []
    for number, (section, anchor) in enumerate(zip(sections, anchors, strict=True)):
        if is_nodule[number]:
            stacks.append(draw_nodule(rng, section, anchor, slice_mm))
            continue
        # A vessel leans another way rather than touch the others in the slices where they are proposed.
        for _ in range(_TRIES):
            stack = draw_vessel(rng, section, anchor, chest, slice_mm)
            if not np.delete(_crossings(_tracks([stack]), others), number).any():
                break
        stacks.append(stack)
    return stacks


def _near_slices(rng: np.random.Generator, grid: Grid, z: Points) -> Points:
    """Heights moved close to the nearest slice, so that a nodule's own slice shows its full section, as a vessel's."""
    step, middle = grid.spacing_mm[2], (grid.shape[2] - 1) / 2
    return np.asarray((np.rint(z / step + middle) - middle + rng.uniform(-0.2, 0.2, z.shape)) * step)


def _tracks(stacks: list[Stack]) -> Points:
    """Stacks as rows (n, 10): anchor x, y, z; slope x, y; bend x, y; length below, above; reach."""
    rows = [(*s.anchor_mm, *s.slope, *s.bend, s.below_mm, s.above_mm, s.section.reach_mm) for s in stacks]
    return np.array(rows, np.float64).reshape(-1, 10)


def _crossings(tracks: Points, others: Points) -> NDArray[np.bool_]:
    """Whether tracks (n,) come too close to the anchors of others (m,), each in that anchor's slice: (n, m)."""
    away = others[:, 2] - tracks[:, 2, np.newaxis]
    x, y = (
        tracks[:, i, np.newaxis] + away * (tracks[:, i + 3, np.newaxis] + away * tracks[:, i + 5, np.newaxis])
        for i in (0, 1)
    )
    there = (away >= -tracks[:, 7, np.newaxis]) & (away <= tracks[:, 8, np.newaxis])
    room = tracks[:, 9, np.newaxis] + others[:, 9] + _FREE_MM
    return np.asarray(there & ((x - others[:, 0]) ** 2 + (y - others[:, 1]) ** 2 < room**2))


def _as_tracks(points: Points, reach_mm: Points) -> Points:
    """Points (n, 3) as tracks that do not go on, to be asked about crossings."""
    return np.column_stack([points, np.zeros((len(points), 6)), reach_mm])


def _widened(tracks: Points) -> Points:
    """Tracks (n, 10) that go on a little farther, so that no negative lies in the sphere an annotation stands for."""
    longer = tracks.copy()
    longer[:, 7:9] += 1 + 0.2 * tracks[:, 9:]
    return longer


def _points_on_vessels(rng: np.random.Generator, grid: Grid, chest: Chest, placed: list[Stack], count: int) -> Points:
    """Up to `count` points (n, 3) on vessel centers: each vessel's anchor first, then free positions further along."""
    nodules = _widened(_tracks([stack for stack in placed if not stack.is_vessel]))
    vessels = [stack for stack in placed if stack.is_vessel]
    tracks = _tracks(vessels)
    # In a crowded small chest a vessel may run into a nodule: no negative there.
    first = np.flatnonzero(~_crossings(nodules, tracks).any(axis=0))[:count]
    anchors = tracks[first, :3]
    if len(anchors) == count or not vessels:
        return anchors
    owner, points = _all_along(rng, grid, chest, vessels)
    here = _as_tracks(points, tracks[owner, -1])
    apart_from_nodules = ~_crossings(nodules, here).any(axis=0)
    owner, points, here = owner[apart_from_nodules], points[apart_from_nodules], here[apart_from_nodules]
    crossings = _crossings(tracks, here)
    crossings[owner, np.arange(len(points))] = False
    free: NDArray[np.bool_] = np.logical_not(crossings.any(axis=0))
    anywhere = np.ones(len(points), np.bool_)
    taken = [(int(number), float(z)) for number, z in zip(first, anchors[:, 2], strict=True)]
    chosen: list[int] = []
    # Apart and free if possible; a small chest also uses neighboring slices and crowded positions.
    for apart, usable in ((2.5, free), (1.5, free), (0.5, free), (0.5, anywhere)):
        chosen += _choose_apart(rng, owner, points[:, 2], usable, apart * grid.spacing_mm[2], taken, count)
    return np.concatenate([anchors, points[chosen]])


def _choose_apart(
    rng: np.random.Generator,
    owner: NDArray[np.int64],
    heights: Points,
    usable: NDArray[np.bool_],
    gap_mm: float,
    taken: list[tuple[int, float]],
    count: int,
) -> list[int]:
    """Indices of points that are farther along z than a gap from those taken on the same vessel; extends `taken`."""
    chosen = []
    for index in rng.permutation(len(heights)).tolist():
        if len(taken) == count:
            break
        number, z = int(owner[index]), float(heights[index])
        if usable[index] and all(abs(z - at) > gap_mm for other, at in taken if other == number):
            taken.append((number, z))
            chosen.append(index)
    return chosen


def _all_along(
    rng: np.random.Generator, grid: Grid, chest: Chest, vessels: list[Stack]
) -> tuple[NDArray[np.int64], Points]:
    """A point near each slice of each vessel, where it runs in the lung: the vessel's number (n,), points (n, 3)."""
    owner, points = [], []
    for number, stack in enumerate(vessels):
        z = _near_slices(rng, grid, grid.axis_mm(2).astype(np.float64))
        x, y = stack.center_at(z)
        fits = (stack.scale_at(z) > 0) & (np.abs(z) < 0.85 * chest.lung_mm[2])
        fits &= lung_depth_mm(chest, x, y, z) > 0.2 * stack.section.radius_mm
        points.append(np.stack([x, y, z], axis=-1)[fits])
        owner.append(np.full(int(fits.sum()), number))
    return np.concatenate(owner), np.concatenate(points)


def _points_elsewhere(
    rng: np.random.Generator, grid: Grid, chest: Chest, placed: list[Stack], count: int, lookalikes: Points
) -> Points:
    """Points (count, 3): half of them from `lookalikes`, and on the lung's border, at ribs, in mediastinum and lung."""
    half = np.array([*chest.body_mm, grid.shape[2] * grid.spacing_mm[2] / 2])
    tried = rng.uniform(-1, 1, (max(2000, 60 * count), 3)) * half * (0.95, 0.95, 0.98)
    tried = tried[_is_free(placed, tried)]
    alike = rng.permutation(lookalikes[_is_free(placed, lookalikes)])[: -(-count // 2)]
    depth = lung_depth_mm(chest, *tried.T)
    ring = np.hypot(tried[:, 0] / half[0], tried[:, 1] / half[1])
    border = (depth > -3) & (depth < 0.5)
    ribs = np.abs(ring - 0.845) < 0.05
    mediastinum = (np.abs(tried[:, 0]) < 0.2 * half[0]) & (ring < 0.75) & (depth < -2)
    lung = depth > 2
    share = -(-max(count - len(alike), 0) // 4)
    found = [tried[fits][:share] for fits in (border, ribs, mediastinum, lung)]
    # Whatever a crowded chest has no free lung for lies at the ribs.
    others = rng.permutation(np.concatenate([*found, tried[ribs][share:]]))
    return rng.permutation(np.concatenate([alike, others])[: max(count, 0)])


def _is_free(placed: list[Stack], points: Points) -> NDArray[np.bool_]:
    """Which points (n, 3) lie on no nodule and no vessel."""
    busy = _crossings(_widened(_tracks(placed)), _as_tracks(points, np.full(len(points), 2.0)))
    return np.asarray(~busy.any(axis=0))


def _jitter(rng: np.random.Generator, count: int) -> Points:
    """A detector's inaccuracy (count, 3), below 1 mm; small along z, where a nodule's sections are smaller."""
    angle, radius = rng.uniform(0, 2 * np.pi, count), 0.9 * np.sqrt(rng.uniform(0, 1, count))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle), rng.uniform(-0.2, 0.2, count)], axis=-1)
