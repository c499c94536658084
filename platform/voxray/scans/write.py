"""Volumes → NIfTI files."""

import gzip

import nibabel
import numpy as np

from voxray.storage.atomic import atomic_write
from voxray.storage.paths import AnyPath
from voxray.volume import Volume


def write_nifti(path: AnyPath, volume: Volume) -> None:
    """Write a volume in its own axes; the same volume gives the same bytes, which appear whole or not at all.

    Parameters
    ----------
    path : Place
        Ends in ``.nii.gz`` or ``.nii``.
    volume : Volume
        uint8, int16 and float32 are kept as they are. Several channels become the fourth axis.
    """
    voxels = volume.array[0] if volume.array.shape[0] == 1 else volume.array.transpose(1, 2, 3, 0)
    image = nibabel.Nifti1Image(np.asarray(voxels), volume.affine)
    # Some viewers look at the one, some at the other.
    image.set_sform(volume.affine, 1)
    image.set_qform(volume.affine, 1)
    image.header.set_xyzt_units("mm", "sec")
    with atomic_write(path) as unfinished, unfinished.open("wb") as file:
        if path.name.endswith(".gz"):
            # Neither a name nor a time in it, or every run's bytes would be new ones.
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)
