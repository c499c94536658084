"""Frozen values for voxels in space. Arrays are (channel, x, y, z), RAS+; affines map voxel index to world mm."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False, repr=False)
class Volume:
    """Voxels and where they are; ``np.asarray(volume)`` gives the voxels.

    Attributes
    ----------
    array : ndarray, (channel, x, y, z)
        In the scan's own numbers. May be a view of a memory-mapped file: slice before computing.
    affine : ndarray, (4, 4), float64
        Voxel index to world millimeters, RAS+.
    fetch : callable, optional
        Where the voxels lie in object storage and were not fetched yet: brings what views of `array` show into their
        memory.
    name : str
        Of the file that it was read from, for messages; may be empty.

    Examples
    --------
    >>> import numpy as np
    >>> volume = Volume(np.zeros((1, 4, 5, 6), np.int16), np.diag([0.5, 0.5, 2.0, 1.0]))
    >>> volume
    <Volume 1x4x5x6 int16, 0.5x0.5x2 mm>
    >>> volume.shape, volume.spacing_mm
    ((4, 5, 6), (0.5, 0.5, 2.0))
    >>> float(np.asarray(volume).mean())
    0.0
    """

    array: NDArray[np.generic]
    affine: NDArray[np.float64]
    fetch: Callable[[Sequence[NDArray[np.generic]]], None] | None = None
    name: str = ""

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

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        return np.array(self.array, dtype, copy=copy)

    def __repr__(self) -> str:
        shape = "x".join(map(str, self.array.shape))
        spacing = "x".join(f"{step:.4g}" for step in self.spacing_mm)
        return f"<Volume {shape} {self.array.dtype}, {spacing} mm>"


@dataclass(frozen=True)
class PatchBox:
    """A box of voxels, x, y, z; `start` may be negative and the end beyond the volume."""

    start: tuple[int, int, int]
    size: tuple[int, int, int]


def inside_extents(
    starts: NDArray[np.int64], shape: NDArray[np.int64] | tuple[int, int, int], size: tuple[int, int, int]
) -> NDArray[np.int64]:
    """First voxel and end of what lies inside the volume, (n, 2, 3); the rest of a box is padding.

    Parameters
    ----------
    starts : ndarray of int, (n, 3)
    shape : (x, y, z), or ndarray of int, (n, 3)
        Of the volume, or of each box's own.
    size : (x, y, z)
    """
    return np.stack([np.maximum(-starts, 0), np.minimum(shape - starts, size)], axis=1)
