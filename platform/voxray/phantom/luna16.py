"""A synthetic LUNA16: chest scans with nodules and vessels in the layout of the public data set.

Folders `subset0` … `subset9` with `<seriesuid>.mhd` and `.raw`, `candidates.csv` and `annotations.csv`; coordinates
are world millimeters in LPS. In one slice a nodule below 9 mm looks like a vessel; only neighboring slices tell them
apart. Everything about a scan follows from the seed and the scan's number.
"""

import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ConfigError
from voxray.phantom.chest import Grid, Voxels, add_noise, draw_chest, paint_chest
from voxray.phantom.findings import NODULE, place_findings
from voxray.phantom.metaimage import write_metaimage
from voxray.phantom.sections import paint_stack
from voxray.storage.atomic import write_text

SUBSETS = 10
SLICE_SPACINGS_MM = (0.625, 1.0, 1.25, 2.0, 2.5)
SLICES = (16, 300)
FLIPPED_EVERY = 6
LEAST_MATRIX = 48
CANDIDATES_HEADER = "seriesuid,coordX,coordY,coordZ,class"
ANNOTATIONS_HEADER = "seriesuid,coordX,coordY,coordZ,diameter_mm"

Vector = tuple[float, float, float]
UPRIGHT: tuple[Vector, ...] = ((1, 0, 0), (0, 1, 0), (0, 0, 1))
FLIPPED: tuple[Vector, ...] = ((-1, 0, 0), (0, -1, 0), (0, 0, 1))


@dataclass(frozen=True)
class PhantomScan:
    """One scan and what is known about it.

    Parameters
    ----------
    seriesuid
        Name of the scan and its files.
    voxels
        (z, y, x) int16, Hounsfield units.
    spacing_mm, origin_mm, direction
        Geometry in x, y, z order, LPS: world = origin + direction · (index * spacing).
    nodules
        (n, 4) float64: world x, y, z and diameter in mm.
    candidates
        (m, 3) float64, world mm; the first n lie on the nodules, in order, and all others on none.
    kinds
        (m,) int8: what a candidate is, `findings.NODULE`, `VESSEL` or `ELSEWHERE`.
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
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> None:
    """Write a synthetic LUNA16 data set.

    Parameters
    ----------
    root
        Folder to fill; made where it is missing.
    scans
        Number of scans, dealt to the ten subsets in turn.
    seed
        Same seed, same files.
    matrix
        Rows and columns of a slice. The spacing stays that of a scanner, so a smaller matrix shows a smaller chest,
        with fewer slices, fewer vessels and no large nodules; at least 48. From 256 on there is room for a vessel for
        each candidate; below, vessels are crowded, which a single slice shows.
    nodules_per_scan
        Least and most nodules of a scan.
    compressed
        Whether voxels are stored as zlib `.zraw`.
    progress
        Called with the number of scans written and of all scans, after each scan.
    workers
        Processes; the files do not depend on it. More than one starts fresh interpreters, so the calling script needs
        the usual `if __name__ == "__main__"`.

    Raises
    ------
    ConfigError
        If a number makes no sense.
    """
    _check_sizes(scans, matrix, nodules_per_scan)
    for subset in range(SUBSETS):
        (root / f"subset{subset}").mkdir(parents=True, exist_ok=True)
    jobs = [(root, seed, number, matrix, nodules_per_scan, compressed) for number in range(scans)]
    rows: dict[int, tuple[list[str], list[str]]] = {}
    for number, of_scan in _in_any_order(jobs, workers):
        rows[number] = of_scan
        if progress is not None:
            progress(len(rows), scans)
    for column, (name, header) in enumerate(
        (("candidates.csv", CANDIDATES_HEADER), ("annotations.csv", ANNOTATIONS_HEADER))
    ):
        lines = [header, *(line for number in range(scans) for line in rows[number][column])]
        write_text(root / name, "\n".join(lines) + "\n")


def draw_scan(seed: int, number: int, *, matrix: int, nodules_per_scan: tuple[int, int] = (4, 12)) -> PhantomScan:
    """Draw one scan; a pure function of its arguments, which are those of `write_luna16` and the scan's number."""
    rng = np.random.default_rng([seed, number])
    seriesuid = "1.3.6.1.4.1.14519.5.2.1.6279.6001." + "".join(
        str(digit) for digit in (rng.integers(1, 10), *rng.integers(0, 10, 29))
    )
    grid = _draw_grid(rng, matrix)
    chest = draw_chest(rng, grid)
    found = place_findings(rng, grid, chest, int(rng.integers(nodules_per_scan[0], nodules_per_scan[1] + 1)))
    voxels = paint_chest(rng, chest, grid)
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
        origin_mm=(float(first_mm[0]), float(first_mm[1]), float(first_mm[2])),
        direction=direction,
        nodules=found.nodules + np.array([*middle_mm, 0.0]),
        candidates=found.candidates + middle_mm,
        kinds=found.kinds,
    )


def _check_sizes(scans: int, matrix: int, nodules_per_scan: tuple[int, int]) -> None:
    """Raise for numbers of which no data set can be made."""
    if scans < 1:
        raise ConfigError("phantom luna16", f"a data set has at least one scan, got {scans}", "Raise scans")
    if matrix < LEAST_MATRIX:
        raise ConfigError(
            "phantom luna16", f"a chest does not fit into a matrix of {matrix}", f"Use {LEAST_MATRIX} or more"
        )
    if not 0 <= nodules_per_scan[0] <= nodules_per_scan[1]:
        raise ConfigError(
            "phantom luna16",
            f"nodules per scan are a least and a most number, got {nodules_per_scan}",
            "Give two numbers from 0 up, the smaller first",
        )


def _draw_grid(rng: np.random.Generator, matrix: int) -> Grid:
    """Draw spacings, and as many slices as a chest of that width is high."""
    in_plane_mm = round(float(rng.uniform(0.55, 0.85)), 6)
    slice_mm = float(rng.choice(SLICE_SPACINGS_MM))
    height_mm = matrix * in_plane_mm * rng.uniform(0.68, 0.82)
    slices = int(np.clip(round(height_mm / slice_mm), *SLICES))
    return Grid((matrix, matrix, slices), (in_plane_mm, in_plane_mm, slice_mm))


def _write_scan(
    root: Path, seed: int, number: int, matrix: int, nodules_per_scan: tuple[int, int], compressed: bool
) -> tuple[list[str], list[str]]:
    """Write one scan's files; return its lines of the two tables, candidates and annotations."""
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
        f"{scan.seriesuid},{x:.6f},{y:.6f},{z:.6f},{kind}"
        for (x, y, z), kind in zip(scan.candidates, classes, strict=True)
    ]
    annotations = [f"{scan.seriesuid},{x:.6f},{y:.6f},{z:.6f},{size:.6f}" for x, y, z, size in scan.nodules]
    order = np.random.default_rng([seed, number, 1]).permutation(len(candidates))
    return [candidates[index] for index in order], annotations


def _in_any_order(
    jobs: list[tuple[Path, int, int, int, tuple[int, int], bool]], workers: int
) -> Iterator[tuple[int, tuple[list[str], list[str]]]]:
    """Write all scans, here or in processes, and yield each one's number and lines as it is done."""
    if workers <= 1:
        for job in jobs:
            yield job[2], _write_scan(*job)
        return
    # A fork of a process with threads (torch, ray) may deadlock.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        numbers = {pool.submit(_write_scan, *job): job[2] for job in jobs}
        for future in as_completed(numbers):
            yield numbers[future], future.result()
