"""Checksums of voxels. Importing this costs nothing but NumPy and xxHash, so that a store can be read with little."""

import numpy as np
import xxhash
from numpy.typing import NDArray

CONSTANT = "constant"


def voxel_checksum(voxels: NDArray[np.generic]) -> str:
    """The checksum of voxels; for constant ones their value, because air looks alike in all patients."""
    contiguous = np.ascontiguousarray(voxels)
    flat = contiguous.reshape(-1)
    # Compare the two ends first: nearly no patch needs the full comparison.
    if flat.size and flat[0] == flat[-1] and (flat == flat[0]).all():
        return f"{CONSTANT} {flat[0]}"
    return xxhash.xxh3_128_hexdigest(contiguous.data)


def patch_checksum(image: NDArray[np.generic], mask: NDArray[np.generic] | None = None) -> str:
    """The checksum of a patch and, where there is one, its mask."""
    checksum = voxel_checksum(image)
    return checksum if mask is None else f"{checksum} {voxel_checksum(mask)}"
