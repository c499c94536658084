"""A synthetic LUNA16: chest scans with nodules and vessels in the layout of the public data set.

Folders `subset0` … `subset9` with `<seriesuid>.mhd` and `.raw`, `candidates.csv`, `annotations.csv` and
`annotations_excluded.csv`; coordinates are world millimeters in LPS. In one slice a nodule below 8 mm looks like a
vessel; only neighboring slices tell them apart. Nodules of 4 to 6, 6 to 12 and 12 to 25 mm lie in the lung, at the wall
and at vessels, among branching vessels, airways and fissures, whose places are candidates too. Everything about a scan
follows from the seed and the scan's number.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ConfigError
from voxray.phantom.chest import Grid, Voxels, add_noise, draw_chest, paint_chest
from voxray.phantom.findings import NODULE, VESSEL, place_findings
from voxray.phantom.fissures import draw_fissures, paint_fissure, points_on
from voxray.phantom.parallel import OnWritten, check_count, run_jobs
from voxray.phantom.sections import paint_stack
from voxray.phantom.trees import draw_trees, paint_trees
from voxray.scans.write import write_metaimage
from voxray.storage.atomic import write_text

WHERE = "phantom luna16"
SUBSETS = 10
EXCLUDED_PER_SCAN = 3  # of the candidates on vessels
UNMEASURED = -1.0  # the diameter of most excluded findings, which counts as 10 mm
MEASURED_SHARE = 0.2
SLICE_SPACINGS_MM = (0.6, 1.0, 1.5, 2.0, 2.5, 3.0)
SLICES = (16, 300)
FLIPPED_EVERY = 6
LEAST_MATRIX = 48
CANDIDATES_HEADER = "seriesuid,coordX,coordY,coordZ,class\n"
ANNOTATIONS_HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm\n"

Vector = tuple[float, float, float]
UPRIGHT: tuple[Vector, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
FLIPPED: tuple[Vector, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, 1))


@dataclass(frozen=True)
class PhantomScan:
    """One scan; its geometry is in x, y, z order, LPS: world = origin + direction · (index * spacing).

    Attributes
    ----------
    voxels : ndarray of int16, (z, y, x)
        Hounsfield units.
    nodules : ndarray, (n, 4)
        World x, y, z and diameter in mm.
    candidates : ndarray, (m, 3)
        World mm; the first n lie on the nodules, in order, and all others on none.
    kinds : ndarray of int8, (m,)
        What a candidate is, `findings.NODULE`, `VESSEL` or `ELSEWHERE`.
    """

    seriesuid: str
    voxels: Voxels
    spacing_mm: Vector
    origin_mm: Vector
    direction: tuple[Vector, ...]
    nodules: NDArray[np.float64]
    candidates: NDArray[np.float64]
    kinds: NDArray[np.int8]


def write_luna16(
    root: Path,
    *,
    scans: int = 24,
    seed: int = 0,
    matrix: int = 512,
    nodules_per_scan: tuple[int, int] = (4, 12),
    compressed: bool = False,
    progress: OnWritten | None = None,
    workers: int = 1,
) -> None:
    """Write a synthetic LUNA16 data set.

    Parameters
    ----------
    root : Path
        Folder to fill; created if it is missing.
    scans, seed : int
        Number of scans, in the ten subsets in turn; the same seed gives the same files.
    matrix : int
        Rows and columns of a slice; at least 48. The spacing stays that of a scanner, so a smaller matrix shows a
        smaller chest, with fewer slices, fewer vessels and no large nodules. Below 256 vessels are crowded, which a
        single slice shows.
    nodules_per_scan : (int, int)
        Fewest and most nodules of a scan.
    compressed : bool
        Whether voxels are stored as zlib ``.zraw``.
    progress : callable, optional
        Called after each scan.
    workers : int
        Processes; the files do not depend on it. See `run_jobs`.

    Raises
    ------
    ConfigError
        A number is out of range.
    """
    _check_sizes(scans, matrix, nodules_per_scan)
    for subset in range(SUBSETS):
        (root / f"subset{subset}").mkdir(parents=True, exist_ok=True)
    jobs = [(root, seed, number, matrix, nodules_per_scan, compressed) for number in range(scans)]
    candidates, annotations, excluded = zip(*run_jobs(_write_scan, jobs, progress, workers), strict=True)
    write_text(root / "candidates.csv", "".join([CANDIDATES_HEADER, *candidates]))
    write_text(root / "annotations.csv", "".join([ANNOTATIONS_HEADER, *annotations]))
    write_text(root / "annotations_excluded.csv", "".join([ANNOTATIONS_HEADER, *excluded]))


def draw_scan(seed: int, number: int, *, matrix: int, nodules_per_scan: tuple[int, int] = (4, 12)) -> PhantomScan:
    """Draw one scan; a pure function of its arguments, which are those of `write_luna16` and the scan's number."""
    rng = np.random.default_rng([seed, number])
    digits = (rng.integers(1, 10), *rng.integers(0, 10, 29))
    seriesuid = "1.3.6.1.4.1.14519.5.2.1.6279.6001." + "".join(map(str, digits))
    grid = _draw_grid(rng, matrix)
    chest = draw_chest(rng, grid)
    trees, fissures = draw_trees(rng, chest), draw_fissures(rng, chest)
    sheets = [points_on(rng, chest, fissure, len(trees.bends_mm)) for fissure in fissures]
    lookalikes = np.concatenate([trees.forks_mm, trees.bends_mm, *sheets])
    nodules = int(rng.integers(nodules_per_scan[0], nodules_per_scan[1] + 1))
    found = place_findings(rng, grid, chest, nodules, lookalikes)
    voxels = paint_chest(rng, chest, grid)
    for fissure in fissures:
        paint_fissure(voxels, grid, chest, fissure)
    paint_trees(rng, voxels, grid, trees)
    for stack in found.stacks:
        paint_stack(voxels, grid, chest, stack)
    add_noise(rng, voxels, rng.uniform(20, 25))
    size_mm = (np.array(grid.shape) - 1) * grid.spacing_mm
    middle_mm = np.round([*rng.uniform(-20, 20, 2), rng.uniform(-300, -100)], 3)
    first_mm = middle_mm - size_mm / 2
    direction = UPRIGHT
    if number % FLIPPED_EVERY == 2:
        # The patient stays where it is in the world; the file starts in the opposite corner of each slice.
        direction, voxels = FLIPPED, voxels[:, ::-1, ::-1]
        first_mm[:2] += size_mm[:2]
    return PhantomScan(
        seriesuid=seriesuid,
        voxels=voxels,
        spacing_mm=grid.spacing_mm,
        origin_mm=tuple(first_mm.tolist()),
        direction=direction,
        nodules=found.nodules + np.array([*middle_mm, 0.0]),
        candidates=found.candidates + middle_mm,
        kinds=found.kinds,
    )


def _check_sizes(scans: int, matrix: int, nodules_per_scan: tuple[int, int]) -> None:
    check_count(WHERE, "scans", scans)
    if matrix < LEAST_MATRIX:
        raise ConfigError(WHERE, f"matrix: expected {LEAST_MATRIX} or more, got {matrix}", "Raise matrix")
    if not 0 <= nodules_per_scan[0] <= nodules_per_scan[1]:
        problem = f"nodules_per_scan: expected fewest and most, got {nodules_per_scan}"
        raise ConfigError(WHERE, problem, "Give two numbers from 0 up, the smaller first")


def _draw_grid(rng: np.random.Generator, matrix: int) -> Grid:
    """Draw spacings, and as many slices as a chest of that width is high."""
    in_plane_mm = round(float(rng.uniform(0.55, 0.85)), 6)
    slice_mm = float(rng.choice(SLICE_SPACINGS_MM))
    height_mm = matrix * in_plane_mm * rng.uniform(0.68, 0.82)
    slices = int(np.clip(round(height_mm / slice_mm), *SLICES))
    return Grid((matrix, matrix, slices), (in_plane_mm, in_plane_mm, slice_mm))


def _write_scan(
    root: Path, seed: int, number: int, matrix: int, nodules_per_scan: tuple[int, int], compressed: bool
) -> tuple[str, str, str]:
    """Write the files of a scan; its lines of the tables of candidates, annotations and excluded findings."""
    scan = draw_scan(seed, number, matrix=matrix, nodules_per_scan=nodules_per_scan)
    write_metaimage(
        root / f"subset{number % SUBSETS}" / f"{scan.seriesuid}.mhd",
        scan.voxels,
        spacing_mm=scan.spacing_mm,
        origin_mm=scan.origin_mm,
        direction=scan.direction,
        compressed=compressed,
    )
    classes = (scan.kinds == NODULE).astype(int)
    candidates = [
        f"{scan.seriesuid},{x:.6f},{y:.6f},{z:.6f},{kind}\n"
        for (x, y, z), kind in zip(scan.candidates, classes, strict=True)
    ]
    order = np.random.default_rng([seed, number, 1]).permutation(len(candidates))
    excluded = _ambiguous(scan, np.random.default_rng([seed, number, 2]))
    shuffled = "".join(candidates[index] for index in order)
    return shuffled, _annotation_lines(scan, scan.nodules), _annotation_lines(scan, excluded)


def _ambiguous(scan: PhantomScan, rng: np.random.Generator) -> NDArray[np.float64]:
    """Vessels (n, 4) that readers did not agree on, as rows of `PhantomScan.nodules`."""
    vessels = scan.candidates[scan.kinds == VESSEL]
    chosen = vessels[rng.permutation(len(vessels))[:EXCLUDED_PER_SCAN]]
    is_measured = rng.random(len(chosen)) < MEASURED_SHARE
    return np.column_stack([chosen, np.where(is_measured, rng.uniform(3, 8, len(chosen)), UNMEASURED)])


def _annotation_lines(scan: PhantomScan, findings: NDArray[np.float64]) -> str:
    return "".join(f"{scan.seriesuid},{x:.6f},{y:.6f},{z:.6f},{size:.6f}\n" for x, y, z, size in findings)
