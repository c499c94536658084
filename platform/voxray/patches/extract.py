"""Cut patches out of a volume."""

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.geometry import world_to_voxel
from voxray.scans.read import read_region
from voxray.volume import PatchBox, Volume


def patch_box(
    volume: Volume, centre_mm: tuple[float, float, float] | None, size: tuple[int, int, int], where: str
) -> PatchBox:
    """The box of a patch around a point.

    In plane the box may reach over the border. Through the slices it is shifted inside the volume, as long as
    the volume has enough of them.

    Parameters
    ----------
    volume : Volume
    centre_mm : tuple of float, optional
        World RAS; None means the centre of the volume.
    size : tuple of int
        Voxels along x, y, z.
    where : str
        Name of the sample, for the error.

    Raises
    ------
    ScanError
        The centre lies outside the volume.
    """
    shape = np.array(volume.shape)
    if centre_mm is None:
        centre = (shape // 2).astype(float)
    else:
        centre = world_to_voxel(volume.affine, np.array([centre_mm]))[0]
        if (centre < -0.5).any() or (centre > shape - 0.5).any():
            at = ", ".join(f"{value:.1f}" for value in centre)
            extent = "x".join(map(str, volume.shape))
            raise ScanError(where, f"its centre lies outside the scan: voxel ({at}) of {extent}")
    start = np.floor(centre + 0.5).astype(int) - np.array(size) // 2
    depth, slices = size[2], int(shape[2])
    if slices >= depth:
        start[2] = min(max(start[2], 0), slices - depth)
    else:
        start[2] = -((depth - slices) // 2)
    return PatchBox((int(start[0]), int(start[1]), int(start[2])), size)


def cut_patch(
    volume: Volume, box: PatchBox, fill: float, dtype: np.dtype[np.generic], where: str
) -> NDArray[np.generic]:
    """Copy a patch in the store's dtype.

    Returns
    -------
    ndarray, (channel, x, y, z)

    Raises
    ------
    ScanError
        A voxel is not a number, or the store's dtype cannot hold it without loss.
    """
    same = volume.voxels.dtype == dtype
    patch = read_region(volume, box, fill) if same else _converted(volume, box, fill, dtype, where)
    if patch.dtype.kind == "f" and not np.isfinite(patch).all():
        raise ScanError(where, "holds voxels that are not finite numbers")
    return patch


def _converted(
    volume: Volume, box: PatchBox, fill: float, dtype: np.dtype[np.generic], where: str
) -> NDArray[np.generic]:
    low = tuple(max(0, start) for start in box.start)
    high = (min(n, start + size) for n, start, size in zip(volume.shape, box.start, box.size, strict=True))
    part = volume.voxels[(slice(None), *(slice(a, max(a, b)) for a, b in zip(low, high, strict=True)))]
    with np.errstate(invalid="ignore"):
        cast = part.astype(dtype)
    lost = (cast != part) & ~((cast != cast) & (part != part))
    if lost.any():
        raise ScanError(
            where, f"store.dtype '{dtype}' cannot hold its value {part[lost][0]}", "Set store.dtype = 'float32'"
        )
    x, y, z = (start - first for start, first in zip(box.start, low, strict=True))
    return read_region(Volume(cast, volume.affine), PatchBox((x, y, z), box.size), fill)
