"""Frozen values for voxels in space. Arrays are (channel, x, y, z), RAS+; affines map voxel index to world mm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Volume:
    """Voxels and where they are.

    Attributes
    ----------
    array : ndarray, (channel, x, y, z)
        In the scan's own numbers. May be a view of a memory-mapped file: slice before computing.
    affine : ndarray, (4, 4), float64
        Voxel index to world millimeters, RAS+.
    fetch : callable, optional
        Where the voxels lie in object storage and were not fetched yet: brings what views of `array` show into their
        memory.
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    fetch: Callable[[Sequence[NDArray[np.generic]]], None] | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along x, y, z."""
        _, x, y, z = self.array.shape
        return x, y, z

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighboring voxel centers along x, y, z in millimeters."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


@dataclass(frozen=True)
class PatchBox:
    """A box of voxels, x, y, z; `start` may be negative and the end beyond the volume."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]
