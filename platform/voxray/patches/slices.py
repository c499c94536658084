"""Axial slices of a scan as patches with one z: through a region, or in the middle. Pure, of shape and mask."""

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.volume import PatchBox


def slice_boxes(
    shape: tuple[int, int, int], size: tuple[int, int, int], count: int, region: NDArray[np.generic] | None
) -> list[PatchBox | ScanError]:
    """The boxes of slices, in the order of z; in plane all are in the middle of the volume.

    The slices that the region touches are divided into `count` equal parts, and the middle of each part is taken. Where
    the region touches fewer slices, neighbors around its middle are taken, or around the middle of the volume if there
    is no region or nothing in it.

    Returns
    -------
    list of PatchBox or ScanError
        `count` of them, all different; the last ones are errors where the volume has fewer slices.
    """
    x, y = (extent // 2 - length // 2 for extent, length in zip(shape[:2], size[:2], strict=True))
    planes = _choose_planes(shape[2], count, region)
    problem = f"expected {count} slices or more for patches.patches_per_scan, got {shape[2]}"
    missing = ScanError("sample", problem, "Lower patches.patches_per_scan to use all slices of the scan")
    return [*(PatchBox((x, y, z), size) for z in planes), *[missing] * (count - len(planes))]


def _choose_planes(depth: int, count: int, region: NDArray[np.generic] | None) -> list[int]:
    touched = np.flatnonzero(np.any(region, axis=(0, 1))) if region is not None else np.array([], np.int64)
    if len(touched) >= count:
        middles = (2 * np.arange(count) + 1) * len(touched) // (2 * count)
        return [int(z) for z in touched[middles]]
    middle = (int(touched[0]) + int(touched[-1]) + 1) / 2 if len(touched) else depth / 2
    first = min(max(0, int(middle - count / 2)), max(0, depth - count))
    return list(range(first, min(first + count, depth)))
