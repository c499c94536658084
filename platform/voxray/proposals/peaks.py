"""Local maxima of a probability map, such as that of a segmentation network. Pure."""

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from voxray.proposals.blobs import Blobs, first_apart, is_inside
from voxray.scans.geometry import voxel_to_world
from voxray.volume import Volume

LOWEST = 0.02  # probability of a candidate
SMOOTH_MM = 1.0  # standard deviation
DIGITS = 3  # of probabilities: a difference that is smaller makes no maximum
DIAMETERS_MM = (3.0, 30.0)
MEASURED = 4  # times as many maxima as candidates, because some of them are parts of others

Floats = NDArray[np.float64]


def find_peaks(probability: Volume, region: Volume, limit: int) -> Blobs:
    """The most probable spheres in a map.

    Parameters
    ----------
    probability : Volume of float32, (1, x, y, z)
        In canonical axes.
    region : Volume of bool, (1, x, y, z)
        Where the maxima lie, on a grid of its own with axes parallel to the map's.
    limit : int
        Largest number of them. Of two that lie within each other's radius the less probable one is left out.

    Returns
    -------
    Blobs
        Strengths are probabilities. The radius is where the mean probability of a shell around the maximum falls below
        half of it, the center that of the probability up to a voxel beyond.
    """
    values, spacing = probability.array[0], np.array(probability.spacing_mm)
    peaks, strengths = _maxima(values, SMOOTH_MM / spacing)
    order = np.argsort(-strengths, kind="stable")
    order = order[is_inside(region, voxel_to_world(probability.affine, peaks[order].astype(float)))]
    order = order[: MEASURED * limit]
    spheres = [_sphere(values, peak, spacing) for peak in peaks[order]]
    centers = voxel_to_world(probability.affine, np.array([center for center, _ in spheres]).reshape(-1, 3))
    return first_apart(Blobs(centers, np.array([diameter for _, diameter in spheres]), strengths[order]), limit)


def _maxima(values: NDArray[np.generic], sigma: Floats) -> tuple[NDArray[np.int64], Floats]:
    """Voxels (n, 3) of the local maxima of a smoothed map, of a plateau its middle, and their values."""
    smooth = ndimage.gaussian_filter(values, sigma, mode="nearest", truncate=3)
    np.round(smooth, DIGITS, out=smooth)
    is_peak = smooth > LOWEST
    is_peak &= ndimage.maximum_filter(smooth, 3, mode="nearest") == smooth
    plateaus, count = ndimage.label(is_peak, np.ones((3, 3, 3)))
    voxels = np.argwhere(is_peak)
    plateau = plateaus[is_peak] - 1
    sizes = np.bincount(plateau, minlength=count)
    middles = np.stack([np.bincount(plateau, axis, minlength=count) / sizes for axis in voxels.T], axis=1)
    strengths = np.zeros(count)
    strengths[plateau] = smooth[is_peak]
    return np.rint(middles).astype(np.int64), strengths


def _sphere(values: NDArray[np.generic], peak: NDArray[np.int64], spacing: Floats) -> tuple[Floats, float]:
    """The center, in voxels, and the diameter in mm of what a maximum belongs to."""
    reach = np.ceil(DIAMETERS_MM[1] / 2 / spacing).astype(int)
    low, high = np.maximum(peak - reach, 0), np.minimum(peak + reach + 1, values.shape)
    part = values[tuple(slice(*ends) for ends in zip(low, high, strict=True))].ravel().astype(np.float64)
    axes = np.meshgrid(*(np.arange(*ends) for ends in zip(low, high, strict=True)), indexing="ij")
    index = np.stack([axis.ravel() for axis in axes], axis=1)
    distances = np.linalg.norm((index - peak) * spacing, axis=1)
    step = float(spacing.min())
    radius = _half_radius(part, distances, step)
    inside = distances <= radius + step  # the maximum is up to half a voxel beside the center
    weights = part[inside]
    center = weights @ index[inside] / weights.sum() if weights.sum() > 0 else peak.astype(np.float64)
    return center, float(np.clip(2 * radius, *DIAMETERS_MM))


def _half_radius(values: Floats, distances: Floats, step: float) -> float:
    """Where the mean of the shells around a maximum falls to half of the innermost, linearly between their middles."""
    shells = np.floor(distances / step + 0.5).astype(int)
    counts = np.bincount(shells)
    means = np.bincount(shells, values) / np.maximum(counts, 1)
    radii = np.bincount(shells, distances) / np.maximum(counts, 1)
    means, radii = means[counts > 0], radii[counts > 0]
    half = means[0] / 2
    beyond = int(np.argmax(means < half))
    if beyond == 0:  # nowhere
        return float(radii[-1])
    share = (means[beyond - 1] - half) / (means[beyond - 1] - means[beyond])
    return float(radii[beyond - 1] + share * (radii[beyond] - radii[beyond - 1]))
