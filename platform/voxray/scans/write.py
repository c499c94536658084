"""Write volumes to NIfTI and MetaImage files."""

import gzip
import zlib
from itertools import chain
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from numpy.typing import NDArray

from voxray.scans.formats.channels import channel_files
from voxray.scans.formats.nifti import NIFTI, read_nifti_header
from voxray.scans.formats.nifti_header import PLACE_FIELDS, SAME_PLACE_VOXELS
from voxray.scans.formats.registry import find_format
from voxray.scans.geometry import corners_apart_mm
from voxray.storage.atomic import atomic_write, write_text
from voxray.storage.paths import AnyPath
from voxray.volume import Volume


def write_nifti(path: AnyPath, volume: Volume, like: AnyPath | None = None, description: str = "") -> None:
    """Write a volume in its own axes, atomically; the same volume gives the same bytes.

    Parameters
    ----------
    path : path
        Ends in ``.nii.gz`` or ``.nii``.
    volume : Volume
        uint8, int16 and float32 are kept as they are. Several channels become the fourth axis.
    like : path, optional
        The scan whose grid the volume has, in the axes of its file. If that is NIfTI, what its header says about the
        place of the voxels is kept as it is: sform, qform, their codes and the unit. So every program shows both in one
        place, whichever of them it reads.
    description : str
        For the header, at most 79 bytes.
    """
    voxels = volume.array[0] if volume.array.shape[0] == 1 else volume.array.transpose(1, 2, 3, 0)
    # The first version of the format has 16 bits for a size.
    kind: Any = nibabel.Nifti1Image if max(voxels.shape) < 2**15 else nibabel.Nifti2Image
    image = kind(np.asarray(voxels), None)
    image.header["descrip"] = description.encode()
    _set_place(image.header, volume, None if like is None else channel_files(like)[0])
    with atomic_write(path) as unfinished, unfinished.open("wb") as file:
        if path.name.endswith(".gz"):
            # Without a name and a time, which would differ in every run.
            with gzip.GzipFile("", "wb", 1, file, mtime=0) as packed:
                image.to_stream(packed)
        else:
            image.to_stream(file)


def _set_place(header: Any, volume: Volume, like: AnyPath | None) -> None:
    """Say where the voxels lie: as the header of a scan has it, or by an affine."""
    if like is not None and find_format(like) is NIFTI:
        fields = read_nifti_header(like).fields
        for name in PLACE_FIELDS:
            header[name] = fields[name]
        header["pixdim"][:4] = fields["pixdim"][:4]
        return
    # Some viewers use one, some the other. A qform cannot be sheared: none is better than one that is elsewhere.
    header.set_sform(volume.affine, 1)
    header.set_qform(volume.affine, 1)
    _, apart = corners_apart_mm(volume.shape, volume.affine, header.get_qform())
    if apart.max() > SAME_PLACE_VOXELS * min(volume.spacing_mm):
        header["qform_code"] = 0
    header.set_xyzt_units("mm", "sec")


def write_metaimage(
    header: Path,
    voxels: NDArray[np.int16],
    *,
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
    direction: tuple[tuple[float, float, float], ...],
    compressed: bool = False,
) -> None:
    """Write a MetaImage as LUNA16 has them: a text header ``.mhd`` beside the voxels, plain ``.raw`` or zlib ``.zraw``.

    The header is written last, so that a header always has its voxels. Its keys are in the order of the public files.
    Format: https://itk.org/Wiki/ITK/MetaIO/Documentation.

    Parameters
    ----------
    header : Path
        The ``.mhd`` file; the voxels are written beside it.
    voxels : ndarray of int16, (z, y, x)
    spacing_mm, origin_mm : (x, y, z)
        LPS millimeters; the origin is the center of the first voxel.
    direction : tuple
        Rows of the 3×3 direction matrix; the file has it column by column.
    """
    data = header.with_suffix(".zraw" if compressed else ".raw")
    little = np.ascontiguousarray(voxels, "<i2")
    with atomic_write(data) as unfinished:
        if compressed:
            unfinished.write_bytes(zlib.compress(little.data, level=1))
        else:
            little.tofile(unfinished)
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {compressed}",
        *([f"CompressedDataSize = {data.stat().st_size}"] if compressed else []),
        f"TransformMatrix = {_numbers(*zip(*direction, strict=True))}",
        f"Offset = {_numbers(origin_mm)}",
        "CenterOfRotation = 0 0 0",
        "AnatomicalOrientation = RAI",
        f"ElementSpacing = {_numbers(spacing_mm)}",
        f"DimSize = {_numbers(voxels.shape[::-1])}",
        "ElementType = MET_SHORT",
        f"ElementDataFile = {data.name}",
    ]
    write_text(header, "\n".join(lines) + "\n")


def _numbers(*vectors: tuple[float, ...]) -> str:
    """Numbers as the format has them: integers without a point."""
    return " ".join(f"{value:.10g}" for value in chain(*vectors))
