"""Small pictures of scans and patches, from which those that look alike are found."""

import math
from bisect import bisect_right
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import zoom

CELLS = 4096  # at most, of a signature; one byte each
FEWEST_CELLS = 256  # in smaller images too many look alike by chance
CLIPPED = (0.5, 99.5)  # percentiles of an image that become black and white

Signature = NDArray[np.uint8]


def grid_shape(shape: Sequence[int]) -> tuple[int, ...]:
    """Cells along each axis for an image of so many voxels: the longest axes are shortened until CELLS suffice."""
    longest = bisect_right(range(1, CELLS + 1), CELLS, key=lambda side: math.prod(min(size, side) for size in shape))
    return tuple(min(size, longest) for size in shape)


def signature(image: NDArray[np.generic]) -> Signature | None:
    """The means of (channel, x, y, z) voxels in the cells of a coarse grid, from black to white.

    None for an image that is too small to be recognized, or constant.
    """
    shape = grid_shape(image.shape[1:])
    if np.prod(shape) < FEWEST_CELLS:
        return None
    cells: NDArray[np.float32] = image.mean(axis=0, dtype=np.float32) if len(image) > 1 else image[0]
    for axis, size in enumerate(shape):
        cells = _average(cells, axis, size)
    low, high = np.percentile(cells, CLIPPED)
    if not high > low:
        return None
    gray = np.clip((cells - low) / (high - low), 0, 1)
    return np.asarray((255 * gray).round(), np.uint8)


def common_grid(signatures: Sequence[Signature]) -> NDArray[np.uint8]:
    """Signatures of any shapes as one array (n, x, y, z), on the grid that is their median along each axis."""
    shape = tuple(int(size) for size in np.median([each.shape for each in signatures], axis=0))
    images = np.empty((len(signatures), *shape), np.uint8)
    for image, each in zip(images, signatures, strict=True):
        factors = [wanted / given for wanted, given in zip(shape, each.shape, strict=True)]
        image[:] = each if each.shape == shape else zoom(each, factors, order=1, grid_mode=True, mode="nearest")
    return images


def _average(cells: NDArray[np.float32], axis: int, size: int) -> NDArray[np.float32]:
    """Means of neighboring slices along an axis, so that `size` of them are left."""
    given = cells.shape[axis]
    if given == size:
        return cells
    edges = np.linspace(0, given, size + 1).round().astype(np.int64)
    counts = np.diff(edges).astype(np.float32)
    counts = counts.reshape([-1 if each == axis else 1 for each in range(cells.ndim)])
    return np.asarray(np.add.reduceat(cells, edges[:-1], axis=axis, dtype=np.float32) / counts)
