"""NIfTI files whose bytes follow from their voxels alone."""

import gzip
import os
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray


def write_nifti(path: Path, voxels: NDArray[Any], affine: NDArray[np.float64]) -> None:
    """Write (x, y, z) or (x, y, z, channel) voxels as ``.nii.gz`` or ``.nii``; same voxels, same bytes."""
    image = nibabel.Nifti1Image(voxels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    content = image.to_bytes()
    # A time stamp in the file would make every run's bytes new ones.
    write_whole(path, gzip.compress(content, compresslevel=1, mtime=0) if path.suffix == ".gz" else content)


def write_whole(path: Path, content: bytes) -> None:
    """Write a file in one step."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_bytes(content)
    unfinished.replace(path)
