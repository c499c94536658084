"""Small folders of real files, arranged as people arrange them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

SHAPE = (6, 5, 4)


def write_scan(path: Path, seed: int = 0, shape: Sequence[int] = SHAPE, shift_mm: float = 0) -> str:
    """A scan of noise."""
    voxels = np.random.default_rng(seed).integers(-1000, 1000, shape).astype(np.int16)
    return write_voxels(path, voxels, shift_mm)


def write_mask(path: Path, values: Sequence[int] = (0, 1), shape: Sequence[int] = SHAPE, shift_mm: float = 0) -> str:
    """A mask with a plane of each value, the rest is the first one."""
    voxels = np.full(shape, values[0], np.int16)
    for plane, value in enumerate(values):
        voxels[plane] = value
    return write_voxels(path, voxels, shift_mm)


def write_voxels(path: Path, voxels: NDArray[Any], shift_mm: float = 0) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = np.diag([1.0, 1.0, 2.0, 1.0])
    affine[0, 3] = shift_mm
    nibabel.save(nibabel.Nifti1Image(voxels, affine), path)  # type: ignore[no-untyped-call]
    return path.name


def write_pairs(root: Path, *pairs: tuple[str, str], values: Sequence[int] = (0, 1)) -> Path:
    """Images with their masks."""
    for number, (image, mask) in enumerate(pairs):
        write_scan(root / image, number)
        write_mask(root / mask, values)
    return root
