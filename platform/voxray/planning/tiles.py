"""The stored patches of a plan: the scan's center, or tiles that are larger than what the network gets of them."""

import math
from dataclasses import dataclass

import numpy as np

from voxray.models.layers.base import Shape
from voxray.planning.unet_rules import Numbers

COVERED = 0.9  # of the voxels of scans in a patch at their center
LARGER = 1.5  # a tile of a part of a scan than a crop, along each axis
SLICES = 8  # of a tile whose crops are slices
MOST_TILE_BYTES = 2**27  # several have to fit the buffer in which patches are shuffled
MOST_CROPS = {2: 32, 3: 8}  # of the voxels of a crop in a tile that is a whole scan
MOST_TILES = 8  # of a scan
MOST_CROPS_PER_PATCH = 8
FOREGROUND_SHARE = 0.33  # nnU-Net: a third of each batch
BUFFER_TILES = 32  # half of them are shuffled while the others are decoded
LEAST_BUFFER, MOST_BUFFER = 2**28, 2**31


@dataclass(frozen=True)
class Tiles:
    """Patches of a store and their crops.

    Attributes
    ----------
    size : tuple of int
        Voxels of a stored patch, x, y, z; of a network in 2D x, y where it is one slice.
    crop : tuple of int, optional
        Voxels of a crop; None where the network gets whole patches.
    covers : float
        Share of the voxels of all scans in a patch of the network's size at their center.
    whole : bool
        Whether a stored patch is a whole scan.
    per_scan : int
        Stored patches of a scan.
    crops : int
        Of each training patch in an epoch.
    validated : int
        Crops of each patch in validation.
    """

    size: Shape
    crop: Shape | None
    covers: float
    whole: bool
    per_scan: int
    crops: int
    validated: int


def fit_tiles(patch: Shape, extents: Numbers, voxel_bytes: int) -> Tiles:
    """Tiles for the patch of a network.

    Where a patch at the center holds nearly all voxels of the scans, it is what is stored. Otherwise whole scans are
    stored, as long as they are small, or tiles of 1.5 times the patch, and the network gets crops of them.

    Parameters
    ----------
    patch : tuple of int
        Input of the network, x, y(, z).
    extents : ndarray, (scans, 3)
        Voxels of the scans.
    voxel_bytes : int
        Of a stored voxel, with all channels.
    """
    dimensions, crop = len(patch), np.array([*patch, 1][:3])
    covers = _covered(crop, extents)
    if covers >= COVERED:
        return Tiles(patch, None, covers, True, 1, 1, 1)
    most = np.maximum(extents.max(axis=0), crop)
    is_small = most.prod() <= MOST_CROPS[dimensions] * crop.prod() and most.prod() * voxel_bytes <= MOST_TILE_BYTES
    larger = np.where(crop == 1, SLICES, np.ceil(LARGER * crop))
    tile = most if is_small else np.minimum(most, larger)
    whole = _covered(tile, extents) >= COVERED
    ratio = float(np.median(extents, axis=0).prod() / tile.prod())
    crops = math.ceil(tile.prod() / crop.prod())
    return Tiles(
        size=tuple(int(length) for length in tile),
        crop=patch,
        covers=covers,
        whole=whole,
        per_scan=1 if whole else min(MOST_TILES, max(2, math.ceil(2 * ratio))),
        crops=max(2, min(MOST_CROPS_PER_PATCH, crops)),
        validated=int(np.ceil(tile / crop).prod()),
    )


def buffer_bytes(tiles: Tiles, voxel_bytes: int) -> int:
    """Memory in which enough tiles are shuffled that those of a batch come from several scans."""
    wanted = BUFFER_TILES * math.prod(tiles.size) * voxel_bytes
    return min(MOST_BUFFER, max(LEAST_BUFFER, wanted))


def _covered(size: Numbers, extents: Numbers) -> float:
    """Share of the voxels of all scans in a box of this size at their center."""
    inside = np.prod(np.minimum(extents, size), axis=1)
    return float(inside.sum() / np.prod(extents, axis=1).sum())
