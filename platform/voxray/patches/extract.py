"""Cut patches out of a volume."""

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.geometry import world_to_voxel
from voxray.scans.read import read_region
from voxray.volume import PatchBox, Volume


def patch_boxes(
    volume: Volume, centers_mm: NDArray[np.float64] | None, size: tuple[int, int, int]
) -> list[PatchBox | ScanError]:
    """The boxes of patches around points.

    In plane a box may reach over the border. Through the slices it is shifted inside the volume, as long as
    the volume has enough of them.

    Parameters
    ----------
    volume : Volume
    centers_mm : ndarray, (n, 3), optional
        World RAS; None means one patch in the middle of the volume.
    size : tuple of int
        Voxels along x, y, z.

    Returns
    -------
    list of PatchBox or ScanError
        An error stands where a center lies outside the volume.
    """
    shape, extent = np.array(volume.shape), np.array(size)
    middle = (shape // 2).astype(float)[None]
    centers = middle if centers_mm is None else world_to_voxel(volume.affine, centers_mm)
    starts = np.floor(centers + 0.5).astype(int) - extent // 2
    spare = int(shape[2] - extent[2])
    starts[:, 2] = np.clip(starts[:, 2], 0, spare) if spare >= 0 else -(-spare // 2)
    outside = np.any((centers < -0.5) | (centers > shape - 0.5), axis=1).tolist()
    return [
        _outside(volume, center) if lost else PatchBox((start[0], start[1], start[2]), size)
        for start, center, lost in zip(starts.tolist(), centers, outside, strict=True)
    ]


def _outside(volume: Volume, center: NDArray[np.float64]) -> ScanError:
    at = ", ".join(f"{value:.1f}" for value in center)
    extent = "x".join(map(str, volume.shape))
    return ScanError("sample", f"its center lies outside the scan: voxel ({at}) of {extent}", "Correct the list")


def cut_patch(
    volume: Volume, box: PatchBox, pad_value: float, dtype: np.dtype[np.generic], where: str
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
    same = volume.array.dtype == dtype
    patch = read_region(volume, box, pad_value) if same else _converted(volume, box, pad_value, dtype, where)
    if patch.dtype.kind == "f" and not np.isfinite(patch).all():
        raise ScanError(where, "holds voxels that are not finite numbers", "Fetch or convert the scan again")
    return patch


def _converted(
    volume: Volume, box: PatchBox, pad_value: float, dtype: np.dtype[np.generic], where: str
) -> NDArray[np.generic]:
    low = tuple(max(0, start) for start in box.start)
    high = (min(n, start + size) for n, start, size in zip(volume.shape, box.start, box.size, strict=True))
    part = volume.array[(slice(None), *(slice(a, max(a, b)) for a, b in zip(low, high, strict=True)))]
    with np.errstate(invalid="ignore"):
        cast = part.astype(dtype)
    # A float is kept to the precision of the store's own; whole numbers are kept exactly.
    rounding = dtype.kind == "f" and part.dtype.kind == "f"
    lost = np.isfinite(part) & ~np.isfinite(cast) if rounding else cast != part
    if lost.any():
        raise ScanError(
            where, f"store.dtype '{dtype}' cannot hold its value {part[lost][0]}", "Set store.dtype = 'float32'"
        )
    x, y, z = (start - first for start, first in zip(box.start, low, strict=True))
    return read_region(Volume(cast, volume.affine), PatchBox((x, y, z), box.size), pad_value)
