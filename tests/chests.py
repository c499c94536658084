"""A chest in HU with spheres in it, as arrays: body, two lungs, and what is put there."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scenes import write_metaimage

from voxray.volume import Volume

SHAPE_MM = (180, 140, 120)
RIGHT, LEFT = (45.0, 0.0), (-45.0, 0.0)  # centers of the lungs in x and y
SCANS = 8
NODULE_MM = 12.0
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


def write_chests(root: Path) -> None:
    """Chests with a nodule in the right lung, an excluded one below it, and others in the left lung."""
    rng = np.random.default_rng(0)
    lists: dict[str, list[str]] = {"annotations": [], "annotations_excluded": [], "candidates": []}
    for number in range(SCANS):
        name = f"1.2.{number}"
        nodule, excluded, *others = ((45, 10, 20), (45, 0, -25), (-45, 20, 20), (-45, -20, -10), (-40, 10, -30))
        moved = [tuple(float(value) for value in np.add(point, rng.uniform(-4, 4, 3))) for point in others]
        spheres = [(nodule, NODULE_MM), (excluded, 10.0), *((point, 9.0) for point in moved)]
        volume = chest([((float(x), float(y), float(z)), size) for (x, y, z), size in spheres], (3.0, 3.0, 3.0))
        noise = rng.integers(-20, 20, volume.array[0].shape)
        # World RAS+ in the file's LPS.
        voxels = (volume.array[0] + noise).astype(np.int16)[::-1, ::-1]
        corner = volume.affine[:3, :3] @ (np.array(volume.shape) - 1) + volume.affine[:3, 3]
        origin = (-float(corner[0]), -float(corner[1]), float(volume.affine[2, 3]))
        path = root / f"subset{number}" / f"{name}.mhd"
        write_metaimage(path, voxels, spacing=(3.0, 3.0, 3.0), origin=origin)

        def lps(point: Sequence[float], series: str = name) -> str:
            return f"{series},{-point[0]},{-point[1]},{point[2]}"

        lists["annotations"].append(f"{lps(nodule)},{NODULE_MM}")
        lists["annotations_excluded"].append(f"{lps(excluded)},-1")
        listed = [(nodule, 1), *((tuple(rng.uniform(-20, 20, 3)), 0) for _ in range(3))]
        lists["candidates"] += [f"{lps(point)},{label}" for point, label in listed]
    for file, lines in lists.items():
        last = "class" if file == "candidates" else "diameter_mm"
        (root / f"{file}.csv").write_text("\n".join([f"seriesuid,coordX,coordY,coordZ,{last}", *lines]) + "\n")
