"""Bright blobs of a volume by the Laplacian of Gaussians of several widths (Lindeberg 1998). Pure.

A sphere and a vessel both answer to the Laplacian, the sum of three curvatures. A sphere is curved along every axis, a
vessel along two and a wall along one (Sato 1998, Li 2003), so that blobs are ranked by the smallest of the three.
"""

import itertools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from voxray.scans.geometry import voxel_to_world, world_to_voxel
from voxray.scans.resample import resample
from voxray.volume import Volume

DIAMETERS_MM = (4.0, 6.0, 8.5, 12.0, 17.0, 24.0)
# Air to soft tissue: bone and metal count no more than a nodule.
WINDOW_HU = (-1000.0, 200.0)
FINE_MM = 1.0  # grid of the filters
WIDE_MM = 2.4  # standard deviation from which half as many voxels a side do
WEAKEST_HU = 30.0  # response of a blob; noise is below
LEAST_CURVED_HU = WEAKEST_HU / 3  # along any axis: the share of each in a sphere's response
TRUNCATE = 3.0  # standard deviations

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Blobs:
    """Points that stand out from their surroundings, the most prominent first.

    Attributes
    ----------
    centers_mm : ndarray of float64, (n, 3)
        World RAS.
    diameters_mm : ndarray of float64, (n,)
        Of the sphere that answers most to the width of the filter.
    strengths : ndarray of float64, (n,)
        The smallest curvature in HU, normalized by scale.
    """

    centers_mm: Floats
    diameters_mm: Floats
    strengths: Floats

    def __len__(self) -> int:
        return len(self.strengths)


def find_blobs(volume: Volume, region: Volume, limit: int) -> Blobs:
    """The most prominent blobs of 4 to 24 mm inside a region, the most spherical and brightest first.

    Parameters
    ----------
    volume : Volume
        In HU and canonical axes; the first channel is used.
    region : Volume of bool, (1, x, y, z)
        Where the centers lie, on a grid of its own with axes parallel to the volume's.
    limit : int
        Largest number of blobs. One that lies within the radius of another that comes before it, and that one within
        its own, is left out: a nodule beside a large structure is not a part of it.

    Returns
    -------
    Blobs
    """
    box = _around(volume, region)
    if box is None:
        return Blobs(np.zeros((0, 3)), np.zeros(0), np.zeros(0))
    fine = resample(box, (FINE_MM, FINE_MM, FINE_MM), 1)
    coarse = _halved(fine)
    found = []
    for diameter in DIAMETERS_MM:
        sigma_mm = diameter / (2 * math.sqrt(3))
        grid = fine if sigma_mm < WIDE_MM else coarse
        centers, strengths = _peaks(grid, sigma_mm / grid.spacing_mm[0])
        inside = is_inside(region, centers)
        found.append((centers[inside], np.full(inside.sum(), diameter), strengths[inside]))
    centers, diameters, strengths = map(np.concatenate, zip(*found, strict=True))
    order = np.argsort(-strengths, kind="stable")
    return first_apart(Blobs(centers[order], diameters[order], strengths[order]), limit)


def _halved(volume: Volume) -> Volume:
    """Means of 2 x 2 x 2 voxels."""
    x, y, z = (2 * (extent // 2) for extent in volume.shape)
    if not (x and y and z):
        return volume
    even = volume.array[:, :x, :y, :z]
    means = even.reshape(1, x // 2, 2, y // 2, 2, z // 2, 2).mean(axis=(2, 4, 6))
    step = np.diag([2.0, 2.0, 2.0, 1.0])
    step[:3, 3] = 0.5
    return Volume(means, volume.affine @ step)


def _around(volume: Volume, region: Volume) -> Volume | None:
    """The part of a volume that a region needs, within the window, in float32."""
    marked = np.argwhere(region.array[0])
    if not len(marked):
        return None
    corners = np.stack([marked.min(0), marked.max(0)]).astype(float)
    ends = world_to_voxel(volume.affine, voxel_to_world(region.affine, corners))
    margin = TRUNCATE * DIAMETERS_MM[-1] / (2 * math.sqrt(3)) / np.array(volume.spacing_mm)
    low = np.maximum(np.floor(ends.min(0) - margin), 0).astype(int)
    high = np.minimum(np.ceil(ends.max(0) + margin) + 1, volume.shape).astype(int)
    part = volume.array[0][tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
    affine = volume.affine.copy()
    affine[:3, 3] = voxel_to_world(volume.affine, low[None].astype(float))[0]
    return Volume(np.clip(part, *WINDOW_HU, dtype=np.float32, casting="unsafe")[None], affine)


def _peaks(volume: Volume, sigma: float) -> tuple[Floats, Floats]:
    """Local maxima of the normalized negative Laplacian: world positions (n, 3) and smallest curvatures (n,)."""
    smooth = ndimage.gaussian_filter(volume.array[0], sigma, mode="nearest", truncate=TRUNCATE)
    response = ndimage.laplace(smooth, mode="nearest")
    response *= -(sigma**2)
    peaks = np.argwhere((response > WEAKEST_HU) & (ndimage.maximum_filter(response, 3, mode="nearest") == response))
    curvatures = sigma**2 * _smallest_curvatures(smooth, peaks)
    curved = curvatures > LEAST_CURVED_HU
    return voxel_to_world(volume.affine, peaks[curved].astype(float)), curvatures[curved]


def _smallest_curvatures(values: NDArray[np.float32], voxels: NDArray[np.int64]) -> Floats:
    """Of a map at some voxels (n, 3): the smallest eigenvalue of the negative Hessian, by differences of neighbors."""
    hessian = np.zeros((len(voxels), 3, 3))
    last = np.array(values.shape) - 1

    def beside(offset: NDArray[np.int64]) -> Floats:
        # Outside the map are the values of its border.
        return np.asarray(values[tuple(np.clip(voxels + offset, 0, last).T)], np.float64)

    units = np.eye(3, dtype=np.int64)
    middle = beside(np.zeros(3, np.int64))
    for axis, unit in enumerate(units):
        hessian[:, axis, axis] = beside(unit) + beside(-unit) - 2 * middle
    for first, second in itertools.combinations(range(3), 2):
        one, other = units[first], units[second]
        value = (beside(one + other) + beside(-one - other) - beside(one - other) - beside(other - one)) / 4
        hessian[:, first, second] = hessian[:, second, first] = value
    return np.asarray(-np.linalg.eigvalsh(hessian)[:, -1])


def is_inside(region: Volume, points_mm: Floats) -> NDArray[np.bool_]:
    """Whether points (n, 3) lie in voxels of a region, (1, x, y, z) bool."""
    index = np.floor(world_to_voxel(region.affine, points_mm) + 0.5).astype(int)
    within = ((index >= 0) & (index < region.shape)).all(1)
    inside = np.zeros(len(index), bool)
    inside[within] = region.array[0][tuple(index[within].T)]
    return inside


def first_apart(blobs: Blobs, limit: int) -> Blobs:
    """The first blobs that do not lie within their own and an earlier one's radius, `limit` at most."""
    centers, diameters = blobs.centers_mm, blobs.diameters_mm
    tree = cKDTree(centers)
    free = np.ones(len(blobs), bool)
    kept: list[int] = []
    for number in range(len(blobs)):
        if len(kept) == limit:
            break
        if free[number]:
            kept.append(number)
            near = np.array(tree.query_ball_point(centers[number], diameters[number] / 2))
            apart = np.linalg.norm(centers[near] - centers[number], axis=1)
            free[near[apart <= diameters[near] / 2]] = False
    return Blobs(centers[kept], diameters[kept], blobs.strengths[kept])
