"""Spheres painted into a mask. Pure."""

import numpy as np
from numpy.typing import NDArray

from voxray.scans.geometry import world_to_voxel

Floats = NDArray[np.float64]


def paint_spheres(
    shape: tuple[int, int, int], affine: Floats, centers_mm: Floats, diameters_mm: Floats
) -> NDArray[np.uint8]:
    """A mask of all voxels whose center lies less than a radius from the center of a sphere.

    Parameters
    ----------
    shape : (i, j, k)
    affine : ndarray, (4, 4)
        Index to world millimeters of any axes, also oblique ones.
    centers_mm : ndarray, (n, 3)
        In the same world.
    diameters_mm : ndarray, (n,)
        One that is not above 0, or not known, paints nothing.

    Returns
    -------
    ndarray of uint8, (i, j, k)
        1 in a sphere; the first axis runs fastest, as in the files of scans.
    """
    mask = np.zeros(shape[::-1], np.uint8).T
    # How far a sphere of 1 mm reaches along each axis, in voxels.
    reach = np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)
    for center, index, diameter in zip(centers_mm, world_to_voxel(affine, centers_mm), diameters_mm, strict=True):
        if not (diameter > 0 and np.isfinite(center).all()):
            continue
        low = np.clip(np.floor(index - reach * diameter / 2), 0, shape).astype(int)
        high = np.clip(np.ceil(index + reach * diameter / 2) + 1, 0, shape).astype(int)
        inside = tuple(slice(*ends) for ends in zip(low, high, strict=True))
        mask[inside] |= _squared_distances(low, high, affine, center) < (diameter / 2) ** 2
    return mask


def _squared_distances(low: NDArray[np.int64], high: NDArray[np.int64], affine: Floats, center: Floats) -> Floats:
    """Of the voxels from `low` to `high` to a point, in mm²."""
    axes = np.ogrid[tuple(slice(*ends) for ends in zip(low, high, strict=True))]
    i, j, k = (axis.astype(np.float64) for axis in axes)
    distances: Floats = sum(
        (row[0] * i + row[1] * j + row[2] * k + (row[3] - middle)) ** 2
        for row, middle in zip(affine[:3], center, strict=True)
    )
    return distances
