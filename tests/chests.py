"""A chest in HU with spheres in it, as arrays: body, two lungs, and what is put there."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxray.volume import Volume

SHAPE_MM = (180, 140, 120)
RIGHT, LEFT = (45.0, 0.0), (-45.0, 0.0)  # centers of the lungs in x and y
RADII = (32.0, 48.0)  # of the lungs; of the body 85 and 65

Sphere = tuple[tuple[float, float, float], float]


def chest(
    spheres: Sequence[Sphere] = (), spacing: tuple[float, float, float] = (2.0, 2.0, 2.0), *, lungs: bool = True
) -> Volume:
    """A chest around the world's origin; `spheres` are (center in mm, diameter in mm) of soft tissue."""
    shape = [round(extent / step) for extent, step in zip(SHAPE_MM, spacing, strict=True)]
    affine = np.diag([*spacing, 1.0])
    affine[:3, 3] = -np.array(spacing) * (np.array(shape) - 1) / 2
    x, y, z = (affine[axis, 3] + spacing[axis] * np.arange(shape[axis]) for axis in range(3))
    x, y, z = x[:, None, None], y[None, :, None], z[None, None, :]
    voxels = np.where((x / 85) ** 2 + (y / 65) ** 2 + 0 * z <= 1, 40.0, -1000.0)
    if lungs:
        for center in (RIGHT, LEFT):
            inside = ((x - center[0]) / RADII[0]) ** 2 + ((y - center[1]) / RADII[1]) ** 2 + (z / 55) ** 2 <= 1
            voxels[inside] = -850
    for center, diameter in spheres:
        voxels = np.maximum(voxels, _ball(x, y, z, center, diameter, min(spacing)))
    return Volume(np.rint(voxels).astype(np.int16)[None], affine)


def _ball(
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    z: NDArray[np.float64],
    center: Sequence[float],
    diameter: float,
    blur: float,
) -> NDArray[np.float64]:
    distance = np.sqrt((x - center[0]) ** 2 + (y - center[1]) ** 2 + (z - center[2]) ** 2)
    return -850 + 890 * np.clip((diameter / 2 - distance) / blur + 0.5, 0, 1)
