"""Volumes → NIfTI files."""

import os
from pathlib import Path

import nibabel
import numpy as np

from voxray.volume import Volume


def write_nifti(path: Path, volume: Volume) -> None:
    """Write a volume in its own axes; several channels become the fourth axis. The file appears whole or not at all.

    Parameters
    ----------
    path : Path
        Ends in ``.nii.gz`` or ``.nii``.
    volume : Volume
        uint8 and float32 are kept as they are.
    """
    voxels = volume.voxels[0] if volume.voxels.shape[0] == 1 else volume.voxels.transpose(1, 2, 3, 0)
    image = nibabel.Nifti1Image(np.asarray(voxels), volume.affine)
    image.header.set_xyzt_units("mm")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{os.getpid()}.{path.name}")
    nibabel.save(image, temporary)
    temporary.replace(path)
