"""A synthetic MosMedData: chest CTs with and without pneumonia, in the layout of the subset with two classes.

``CT-0/study_0001.nii.gz`` … have clear lungs, ``CT-23/study_0939.nii.gz`` … have patches of ground glass near the
pleura. How much air the lungs hold differs from chest to chest in both classes, so that their mean density says little.
Everything about a scan follows from the seed and the scan's number.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ConfigError
from voxray.phantom.chest import Chest, Grid, add_noise, draw_chest, lung_depth_mm, paint_chest
from voxray.phantom.parallel import OnWritten, check_count, run_jobs
from voxray.scans.write import write_nifti
from voxray.volume import Volume

WHERE = "phantom mosmed"
LEAST_MATRIX = 32
NORMAL, ABNORMAL = "CT-0", "CT-23"
FIRST_STUDY = {NORMAL: 1, ABNORMAL: 939}  # where the public numbers of these folders begin
FIELD_MM = 360.0
SLICES = (36, 46)
SLICE_MM = 8.0  # the public scans keep every tenth slice of 0.8 mm
NOISE_HU = 14.0
BREATH_HU = 30.0
PATCHES = (9, 17)
DEPTH_MM = (1.0, 22.0)  # of a patch's middle below the pleura


@dataclass(frozen=True, eq=False)
class PhantomStudy:
    """One scan.

    Attributes
    ----------
    folder, name : str
        Its class, and its file without suffix.
    voxels : ndarray of int16, (x, y, z)
        Hounsfield units; x grows to the patient's left, y to the front, z to the head.
    affine : ndarray, (4, 4)
        Index to world millimeters, RAS.
    """

    folder: str
    name: str
    voxels: NDArray[np.int16]
    affine: NDArray[np.float64]


@dataclass(frozen=True)
class _Patch:
    """An ellipsoid of ground glass: where it is, how large, and by how much it is denser than air-filled lung."""

    center_mm: tuple[float, float, float]
    radii_mm: tuple[float, float, float]
    haze_hu: float


def write_mosmed(
    root: Path, *, scans: int = 20, seed: int = 0, matrix: int = 512, progress: OnWritten | None = None
) -> None:
    """Write a synthetic MosMedData set.

    Parameters
    ----------
    root : Path
        Folder to fill; created if it is missing.
    scans, seed : int
        Number of scans, normal and abnormal in turn; the same seed gives the same files.
    matrix : int
        Rows and columns of a slice; at least 32. A smaller matrix shows the same chest, only coarser.
    progress : callable, optional
        Called after each scan.

    Raises
    ------
    ConfigError
        A number is out of range.
    """
    check_count(WHERE, "scans", scans)
    if matrix < LEAST_MATRIX:
        raise ConfigError(WHERE, f"matrix: expected {LEAST_MATRIX} or more, got {matrix}", "Raise matrix")
    for folder in FIRST_STUDY:
        (root / folder).mkdir(parents=True, exist_ok=True)
    run_jobs(_write_study, [(root, seed, number, matrix) for number in range(scans)], progress)


def draw_study(seed: int, number: int, *, matrix: int = 512) -> PhantomStudy:
    """Draw one scan; a pure function of its arguments, which are those of `write_mosmed` and the scan's number."""
    rng = np.random.default_rng([seed, number])
    folder = (NORMAL, ABNORMAL)[number % 2]
    grid = Grid((matrix, matrix, int(rng.integers(*SLICES))), (FIELD_MM / matrix, FIELD_MM / matrix, SLICE_MM))
    chest = draw_chest(rng, grid)
    voxels = paint_chest(rng, chest, grid)
    patches = _draw_patches(rng, chest) if folder == ABNORMAL else []
    _cloud(voxels, chest, grid, float(np.clip(rng.normal(0, BREATH_HU), -2 * BREATH_HU, 2 * BREATH_HU)), patches)
    add_noise(rng, voxels, NOISE_HU)
    # From (z, y, x) with y to the back to the order and directions of the public files.
    stored = voxels[:, ::-1].transpose(2, 1, 0)
    affine = np.diag([-grid.spacing_mm[0], grid.spacing_mm[1], SLICE_MM, 1.0])
    affine[:3, 3] = -affine[:3, :3] @ (np.array(stored.shape) - 1) / 2
    return PhantomStudy(folder, f"study_{FIRST_STUDY[folder] + number // 2:04d}", np.asfortranarray(stored), affine)


def _write_study(root: Path, seed: int, number: int, matrix: int) -> None:
    study = draw_study(seed, number, matrix=matrix)
    write_nifti(root / study.folder / f"{study.name}.nii.gz", Volume(study.voxels[None], study.affine))


def _draw_patches(rng: np.random.Generator, chest: Chest) -> list[_Patch]:
    """Patches of both lungs, most of them near the pleura and in the lower half."""
    reach = (chest.lung_center_mm[0] + chest.lung_mm[0], chest.lung_mm[1], 0.85 * chest.lung_mm[2])
    points = rng.uniform(-1, 1, (4000, 3)) * reach
    points[:, 2] -= 0.15 * chest.lung_mm[2]
    depth = lung_depth_mm(chest, *points.T)
    near = points[(depth >= DEPTH_MM[0]) & (depth <= DEPTH_MM[1])]
    patches = []
    for x, y, z in near[: int(rng.integers(*PATCHES))].tolist():
        across, ahead, along = rng.uniform((16, 16, 20), (40, 40, 60)).tolist()
        patches.append(_Patch((x, y, z), (across, ahead, along), float(rng.uniform(180, 380))))
    return patches


def _cloud(voxels: NDArray[np.int16], chest: Chest, grid: Grid, breath_hu: float, patches: list[_Patch]) -> None:
    """Make the lungs denser in place: all of them by how they are filled, and the patches by their haze."""
    x, y = grid.axis_mm(0)[np.newaxis, :], grid.axis_mm(1)[:, np.newaxis]
    edge = np.float32(1.2 * grid.spacing_mm[0])
    for plane, z in zip(voxels, grid.axis_mm(2), strict=True):
        denser = np.full(plane.shape, breath_hu, np.float32)
        for patch in patches:
            height = (float(z) - patch.center_mm[2]) / patch.radii_mm[2]
            if abs(height) < 1:
                across, ahead = ((axis - patch.center_mm[n]) / patch.radii_mm[n] for n, axis in enumerate((x, y)))
                inside = np.clip(1 - across * across - ahead * ahead - height * height, 0, 1)
                # Opacities do not add up: where two overlap, the denser one is seen.
                np.maximum(denser, breath_hu + patch.haze_hu * np.sqrt(inside), out=denser)
        share = np.clip(lung_depth_mm(chest, x, y, z) / edge + 0.5, 0, 1)
        plane += np.rint(share * denser).astype(np.int16)
