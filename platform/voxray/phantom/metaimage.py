"""MetaImage files as LUNA16 has them: a text header `.mhd` beside the voxels, plain `.raw` or zlib `.zraw`.

Format: https://itk.org/Wiki/ITK/MetaIO/Documentation. The keys stand in the order of the public files.
"""

import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxray.storage.atomic import atomic_write, write_text


def write_metaimage(
    header: Path,
    voxels: NDArray[np.int16],
    *,
    spacing_mm: tuple[float, float, float],
    origin_mm: tuple[float, float, float],
    direction: tuple[tuple[float, float, float], ...],
    compressed: bool = False,
) -> None:
    """Write a volume; the header appears last, so a header always has its voxels.

    Parameters
    ----------
    header
        Where the `.mhd` goes; the voxels go beside it.
    voxels
        (z, y, x) int16.
    spacing_mm, origin_mm
        In x, y, z order, LPS millimeters; the origin is the center of the first voxel.
    direction
        Rows of the 3×3 direction matrix; MetaIO, and so this file, stores it column by column.
    compressed
        Whether the voxels are deflated into a `.zraw`.
    """
    data = header.with_suffix(".zraw" if compressed else ".raw")
    little = np.ascontiguousarray(voxels, "<i2")
    with atomic_write(data) as unfinished:
        if compressed:
            unfinished.write_bytes(zlib.compress(little.data, level=1))
        else:
            little.tofile(unfinished)
    size_bytes = data.stat().st_size
    columns = [row[column] for column in range(3) for row in direction]
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "BinaryData = True",
        "BinaryDataByteOrderMSB = False",
        f"CompressedData = {compressed}",
        *([f"CompressedDataSize = {size_bytes}"] if compressed else []),
        f"TransformMatrix = {_numbers(columns)}",
        f"Offset = {_numbers(origin_mm)}",
        "CenterOfRotation = 0 0 0",
        "AnatomicalOrientation = RAI",
        f"ElementSpacing = {_numbers(spacing_mm)}",
        f"DimSize = {_numbers(voxels.shape[::-1])}",
        "ElementType = MET_SHORT",
        f"ElementDataFile = {data.name}",
    ]
    write_text(header, "\n".join(lines) + "\n")


def _numbers(values: tuple[float, ...] | list[float]) -> str:
    """Numbers as the format has them: whole ones without a point."""
    return " ".join(f"{value:.10g}" for value in values)
