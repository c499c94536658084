"""NRRD files, read by ITK."""

from typing import Any

import numpy as np
from isal import igzip
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import FileHeader, Format, header_of, on_disk
from voxray.scans.geometry import lps_affine
from voxray.storage.paths import AnyPath
from voxray.volume import Volume


def _read(path: AnyPath) -> Volume:
    import SimpleITK  # takes a third of a second, which other formats need not wait for

    with on_disk(path) as file:
        # ITK does not check a gzip stream's checksum.
        header, _, data = file.read_bytes().partition(b"\n\n")
        if b"encoding: gz" in header and data:
            igzip.decompress(data)
        image = SimpleITK.ReadImage(str(file))
        if image.GetDimension() != 3:
            raise ScanError(str(file), f"expected 3 dimensions, got {image.GetDimension()}", "Write it as a volume")
    # A copy: a view of a SimpleITK image dangles once the image is deleted.
    array = SimpleITK.GetArrayFromImage(image)
    channels_last = array if array.ndim == 4 else array[..., None]
    return Volume(channels_last.transpose(3, 2, 1, 0), _affine(image))


def _read_header(path: AnyPath) -> FileHeader:
    import SimpleITK

    reader = SimpleITK.ImageFileReader()
    with on_disk(path) as file:
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        return header_of(_read(path), path)  # raises the error
    i, j, k = reader.GetSize()
    empty = SimpleITK.Image([1, 1, 1], reader.GetPixelID(), reader.GetNumberOfComponents())
    dtype = SimpleITK.GetArrayViewFromImage(empty).dtype
    return FileHeader(reader.GetNumberOfComponents(), (i, j, k), dtype, _affine(reader), (path,))


def _affine(image: Any) -> NDArray[np.float64]:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return lps_affine(np.array(image.GetOrigin()), direction, np.array(image.GetSpacing()))


NRRD = Format("NRRD", (".nrrd",), _read, _read_header)
