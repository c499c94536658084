"""A chest as CT shows it, without findings: body wall, ribs, spine, heart and two lungs, in Hounsfield units.

Positions are *body millimeters*: x towards the patient's left, y towards the back, z towards the head (LPS), with the
origin in the middle of the imaged volume. Voxels are int16 in file order (z, y, x).
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Voxels = NDArray[np.int16]

AIR_HU = -1000.0
FAT_HU = -95.0
MUSCLE_HU = 45.0
LUNG_HU = -850.0
LOWEST_HU = -1024  # what a 12-bit scanner can store

# Ribs per turn around the body, and the part of the chest's width that separates one rib from the next in z.
_RIBS_AROUND = 14
_RIB_PITCH = 0.11
_NOISE_SLABS = 8


@dataclass(frozen=True)
class Grid:
    """Where the voxels lie: their number and spacing in x, y, z; the middle of the volume is the origin."""

    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]

    def axis_mm(self, axis: int) -> NDArray[np.float32]:
        """Positions of the voxel centers along one axis (0 = x), float32, in body millimeters."""
        count = self.shape[axis]
        return ((np.arange(count) - (count - 1) / 2) * self.spacing_mm[axis]).astype(np.float32)

    def index_of(self, points_mm: Floats) -> NDArray[np.float64]:
        """Fractional voxel index (x, y, z) of points (..., 3) in body millimeters."""
        return np.asarray(points_mm / np.array(self.spacing_mm) + (np.array(self.shape) - 1) / 2)


@dataclass(frozen=True)
class Chest:
    """Shape of one chest: half axes or positions in body millimeters, in x, y (and z).

    The center of a lung is its distance from the mid-plane, and its y. The heart pushes into the lower left lung. `fat`
    is the thickness of the fat under the skin as a part of the body's half axis; `rib_phase` is where the first rib
    stands, in radians.
    """

    body_mm: tuple[float, float]
    lung_mm: tuple[float, float, float]
    lung_center_mm: tuple[float, float]
    heart_mm: tuple[float, float]
    heart_center_mm: tuple[float, float]
    fat: float
    rib_phase: float


def draw_chest(rng: np.random.Generator, grid: Grid) -> Chest:
    """Draw a chest that fills the grid: a small grid shows a small chest, at the same spacing."""
    half_width = grid.shape[0] * grid.spacing_mm[0] * rng.uniform(0.43, 0.46)
    half_depth = half_width * rng.uniform(0.68, 0.76)
    heart = half_width * rng.uniform(0.30, 0.36)
    return Chest(
        body_mm=(half_width, half_depth),
        lung_mm=(
            half_width * rng.uniform(0.31, 0.34),
            half_depth * rng.uniform(0.66, 0.72),
            grid.shape[2] * grid.spacing_mm[2] * 0.48,
        ),
        lung_center_mm=(half_width * 0.45, half_depth * rng.uniform(-0.02, 0.04)),
        heart_mm=(heart, heart * rng.uniform(0.75, 0.95)),
        heart_center_mm=(half_width * rng.uniform(0.08, 0.14), -half_depth * rng.uniform(0.22, 0.30)),
        fat=rng.uniform(0.05, 0.10),
        rib_phase=rng.uniform(0, 2 * np.pi),
    )


def lung_depth_mm(chest: Chest, x: Floats, y: Floats, z: Floats) -> Floats:
    """How deep points lie inside a lung, for x, y, z in body millimeters, of shapes that broadcast together.

    About the distance in mm to the lung's in-plane border; negative outside. Exact on the border, and never more than
    the true distance by much, which is all that placing needs.
    """
    height = z / chest.lung_mm[2]
    # A lung is wide at its base and narrow at its apex.
    span = np.sqrt(np.maximum(1 - np.abs(height) ** np.where(height < 0, 6.0, 3.0), 1e-4)).astype(z.dtype)
    ahead = (y - chest.lung_center_mm[1]) / (chest.lung_mm[1] * span)
    width = chest.lung_mm[0] * span * np.clip(1 + 0.15 * ahead, 0.8, 1.2)
    across = (np.abs(x) - chest.lung_center_mm[0]) / width
    depth = (1 - np.sqrt(across * across + ahead * ahead)) * (min(chest.lung_mm[:2]) * span)
    swell = np.sqrt(np.clip(1 - ((height + 0.45) / 0.65) ** 2, 1e-4, 1)).astype(z.dtype)
    heart_x = (x - chest.heart_center_mm[0]) / (chest.heart_mm[0] * swell)
    heart_y = (y - chest.heart_center_mm[1]) / (chest.heart_mm[1] * swell)
    beside_heart = (np.sqrt(heart_x * heart_x + heart_y * heart_y) - 1) * (min(chest.heart_mm) * swell)
    return np.asarray(np.minimum(depth, beside_heart))


def paint_chest(rng: np.random.Generator, chest: Chest, grid: Grid) -> Voxels:
    """Paint the chest without findings and without noise: (z, y, x) int16, Hounsfield units."""
    wall, with_ribs = _paint_wall(chest, grid), _rib_painter(chest, grid)
    x, y = grid.axis_mm(0), grid.axis_mm(1)
    reach = chest.lung_center_mm[0] + 1.25 * chest.lung_mm[0]
    columns, rows = _span(np.abs(x) <= reach), _span(np.abs(y) <= 1.1 * chest.lung_mm[1])
    x_lung, y_lung = x[np.newaxis, columns], y[rows, np.newaxis]
    # Blood sinks: a lung is denser towards the back of a lying patient.
    tissue = (LUNG_HU + 25 * y_lung / chest.lung_mm[1]).astype(np.float32)
    coarse, fine = (_smooth_field(rng, (y_lung.size, x_lung.size), grain, 16.0) for grain in (12, 5))
    edge = np.float32(1.2 * grid.spacing_mm[0])
    voxels = np.empty(grid.shape[::-1], np.int16)
    for index, z in enumerate(grid.axis_mm(2)):
        plane = with_ribs(wall, float(z))
        turn = 0.15 * float(z)
        lung = tissue + np.float32(np.cos(turn)) * coarse + np.float32(np.sin(turn)) * fine
        share = np.clip(lung_depth_mm(chest, x_lung, y_lung, z) / edge + 0.5, 0, 1)
        inner = plane[rows, columns]
        inner += share * (lung - inner)
        voxels[index] = plane
    return voxels


def add_noise(rng: np.random.Generator, voxels: Voxels, sigma_hu: float) -> None:
    """Add Gaussian noise in place, correlated between neighbors in a plane, as a reconstruction kernel leaves it.

    Fresh numbers for each of 30 million voxels would cost more than all the rest, so windows at random places of a few
    prepared slabs are used; a patch never sees the same noise twice.
    """
    depth, rows, columns = voxels.shape
    margin = 128
    white = rng.standard_normal((_NOISE_SLABS, rows + margin + 2, columns + margin + 2), np.float32)
    down = white[:, :-2] + 2 * white[:, 1:-1] + white[:, 2:]
    both = down[:, :, :-2] + 2 * down[:, :, 1:-1] + down[:, :, 2:]
    slabs = np.rint(both * (sigma_hu / 6)).astype(np.int16)  # the kernel's weights (1, 2, 1)² have the norm 6
    chosen, top, left = rng.integers(0, (_NOISE_SLABS, margin + 1, margin + 1), (depth, 3)).T
    for index in range(depth):
        voxels[index] += slabs[chosen[index], top[index] : top[index] + rows, left[index] : left[index] + columns]
    np.maximum(voxels, LOWEST_HU, out=voxels)


def _paint_wall(chest: Chest, grid: Grid) -> NDArray[np.float32]:
    """Everything that is the same in all slices: (y, x) float32 HU of skin, fat, muscle, spine, sternum and aorta."""
    x, y = grid.axis_mm(0)[np.newaxis, :], grid.axis_mm(1)[:, np.newaxis]
    width, depth = chest.body_mm
    plane = np.full((grid.shape[1], grid.shape[0]), AIR_HU, np.float32)
    ellipses = (
        (0.0, 0.0, width, depth, FAT_HU),
        (0.0, 0.0, width * (1 - chest.fat), depth * (1 - chest.fat), MUSCLE_HU),
        (0.0, -0.05 * depth, 0.10 * width, 0.45 * depth, FAT_HU + 60),
        (0.0, 0.62 * depth, 0.12 * width, 0.16 * depth, 190.0),
        (0.0, 0.62 * depth, 0.10 * width, 0.13 * depth, 120.0),
        (0.0, 0.80 * depth, 0.025 * width, 0.10 * depth, 220.0),
        (0.0, -0.82 * depth, 0.10 * width, 0.05 * depth, 150.0),
        (0.08 * width, 0.34 * depth, 0.075 * width, 0.075 * width, MUSCLE_HU + 5),
        (*chest.heart_center_mm, *chest.heart_mm, MUSCLE_HU),
    )
    for center_x, center_y, half_x, half_y, level in ellipses:
        radius = np.sqrt(((x - center_x) / half_x) ** 2 + ((y - center_y) / half_y) ** 2)
        share = np.clip((1 - radius) * (min(half_x, half_y) / grid.spacing_mm[0]) + 0.5, 0, 1)
        plane += share * (np.float32(level) - plane)
    return plane


def _rib_painter(chest: Chest, grid: Grid) -> Callable[[NDArray[np.float32], float], NDArray[np.float32]]:
    """A function (wall, z) → plane that adds the ribs, which run down and forward around the body."""
    x, y = grid.axis_mm(0)[np.newaxis, :], grid.axis_mm(1)[:, np.newaxis]
    across, ahead = x / chest.body_mm[0], y / chest.body_mm[1]
    ring = np.clip(1.6 - np.abs(np.sqrt(across**2 + ahead**2) - 0.845) / 0.022, 0, 1)
    around = np.arctan2(np.abs(across), ahead) * _RIBS_AROUND + chest.rib_phase
    cosine, sine = np.cos(around), np.sin(around)
    pitch_mm = _RIB_PITCH * chest.body_mm[0] * 2

    def paint(wall: NDArray[np.float32], z: float) -> NDArray[np.float32]:
        turn = 2 * np.pi * z / pitch_mm
        # cos(around + turn), written out so that no cosine of a whole plane is needed for each slice.
        wave = np.float32(np.cos(turn)) * cosine - np.float32(np.sin(turn)) * sine
        return np.asarray(wall + np.float32(300) * (ring * np.clip(3 * wave - np.float32(0.6), 0, 1)))

    return paint


def _smooth_field(rng: np.random.Generator, shape: tuple[int, int], grain: int, sigma_hu: float) -> NDArray[np.float32]:
    """A random (rows, columns) float32 field whose features are about `grain` voxels wide."""
    coarse = rng.standard_normal((shape[0] // grain + 2, shape[1] // grain + 2)) * sigma_hu
    rows, columns = (_interpolation(count, grain) for count in shape)
    return (rows @ coarse @ columns.T).astype(np.float32)


def _interpolation(count: int, grain: int) -> NDArray[np.float64]:
    """Linear interpolation from knots `grain` voxels apart, as a (count, knots) matrix."""
    place = np.arange(count) / grain
    return np.asarray(np.maximum(1 - np.abs(place[:, np.newaxis] - np.arange(count // grain + 2)), 0))


def _span(inside: NDArray[np.bool_]) -> slice:
    """The slice from the first to the last true entry."""
    hits = np.flatnonzero(inside)
    return slice(int(hits[0]), int(hits[-1]) + 1)
