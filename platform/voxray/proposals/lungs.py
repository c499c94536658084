"""The lungs of a chest CT: air inside the body, with the vessels and nodules in it. Pure: a Volume in, a mask out."""

import math

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from voxray.volume import Volume

AIR_HU = -400.0  # the lungs are darker, everything else but air is brighter
GRID_MM = 2.0  # of the mask
SMALLEST_ML = 50.0  # of a lung, or of the part of one that a cut scan holds
SMALLEST_SHARE = 0.05  # of the largest piece: the bowel's and the stomach's air is smaller, a collapsed lung larger
CLOSED_MM = 10.0  # radius of what is closed: vessels, and nodules at the wall

Mask = NDArray[np.bool_]


def find_lungs(volume: Volume) -> Volume:
    """The lungs of a chest CT, with everything that lies inside them.

    Air that reaches the sides of its axial slice is outside the body. Of the rest, pieces smaller than 50 ml or than a
    twentieth of the largest, such as the bowel's, are left out. The mask is closed by 10 mm, so that it holds vessels
    and nodules that touch the wall.

    Parameters
    ----------
    volume : Volume
        In HU and canonical axes; the first channel is used.

    Returns
    -------
    Volume of bool, (1, x, y, z)
        On a grid of about 2 mm, made of every n-th voxel; all false where there are no lungs.
    """
    steps = tuple(max(1, math.floor(GRID_MM / spacing + 0.5)) for spacing in volume.spacing_mm)
    air = np.asarray(volume.array[0, :: steps[0], :: steps[1], :: steps[2]]) < AIR_HU
    affine = volume.affine @ np.diag([*map(float, steps), 1.0])
    spacing = np.multiply(volume.spacing_mm, steps)
    inside = air & ~_reaches_the_sides(air)
    pieces, _ = ndimage.label(inside)
    milliliters = np.bincount(pieces.ravel()) * math.prod(spacing) / 1000
    milliliters[0] = 0
    large = milliliters >= max(SMALLEST_ML, SMALLEST_SHARE * milliliters.max())
    return Volume(_closed(large[pieces], spacing)[None], affine)


def grown(region: Volume, margin_mm: float) -> Volume:
    """A region (1, x, y, z) bool with all voxels that lie at most `margin_mm` from it; an empty one stays empty."""
    if not region.array.any():
        return region
    near = ndimage.distance_transform_edt(~region.array[0], sampling=region.spacing_mm) <= margin_mm
    return Volume(near[None], region.affine)


def _reaches_the_sides(air: Mask) -> Mask:
    """Air that is connected to a side of its own axial slice."""
    in_plane = np.zeros((3, 3, 3), bool)
    in_plane[:, 1, 1] = in_plane[1, :, 1] = True
    pieces, count = ndimage.label(air, in_plane)
    touches = np.zeros(count + 1, bool)
    for side in (pieces[0], pieces[-1], pieces[:, 0], pieces[:, -1]):
        touches[np.unique(side)] = True
    touches[0] = False
    outside: Mask = touches[pieces]
    return outside


def _closed(mask: Mask, spacing: NDArray[np.float64]) -> Mask:
    """Closing by a ball, as two distance maps: of any radius at the same cost."""
    if not mask.any():
        return mask
    extents = [np.flatnonzero(mask.any(axis=tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    margins = np.ceil(CLOSED_MM / spacing).astype(int) + 1
    part = np.pad(
        mask[tuple(slice(extent[0], extent[-1] + 1) for extent in extents)],
        [(margin, margin) for margin in margins],
    )
    grown = ndimage.distance_transform_edt(~part, sampling=spacing) <= CLOSED_MM
    closed = ndimage.distance_transform_edt(grown, sampling=spacing) > CLOSED_MM
    result = mask.copy()
    inner = tuple(slice(margin, -margin) for margin in margins)
    result[tuple(slice(extent[0], extent[-1] + 1) for extent in extents)] |= closed[inner]
    return result
