"""The stored numbers of a DICOM file: pydicom decodes plain, deflated and RLE pixels itself, and others by GDCM."""

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import JPEGExtended12Bit, RLELossless

from voxray.errors import ScanError
from voxray.scans.formats.dicom.headers import nameless_errors
from voxray.storage.paths import AnyPath, as_file


def read_frames(path: AnyPath) -> NDArray[np.generic]:
    """Decode the frames (frame, row, column) of a file, without rescaling.

    Raises
    ------
    ScanError
        The pixels are missing, cut off, or cannot be decoded.
    """
    with nameless_errors(path, "its pixels cannot be decoded"):
        dataset = pydicom.dcmread(as_file(path))
        if "PixelData" not in dataset:
            raise ScanError(str(path), "is cut off before the end of its pixels", "Fetch the file again")
        syntax = dataset.file_meta.TransferSyntaxUID
        if not syntax.is_encapsulated:
            _check_length(path, dataset)
        if syntax == JPEGExtended12Bit and dataset.BitsStored > 8:
            return _decode_extended_jpeg(dataset)
        plugin = "gdcm" if syntax.is_encapsulated and syntax != RLELossless else ""
        pixels: NDArray[np.generic] = pixel_array(dataset, raw=True, decoding_plugin=plugin)
    return pixels.reshape(-1, *pixels.shape[-2:])


def _check_length(path: AnyPath, dataset: Dataset) -> None:
    count = int(dataset.get("NumberOfFrames") or 1)
    expected = count * dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) < expected:
        problem = f"is cut off: it holds {len(dataset.PixelData):,} of {expected:,} bytes of pixels"
        raise ScanError(str(path), problem, "Fetch the file again")


def _decode_extended_jpeg(dataset: Dataset) -> NDArray[np.generic]:
    """Frames of 12 bits in lossy JPEG, which GDCM decodes but pydicom's plugin for it refuses."""
    rows, columns = dataset.Rows, dataset.Columns
    frames = []
    for encoded in generate_frames(dataset.PixelData, number_of_frames=int(dataset.get("NumberOfFrames") or 1)):
        fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
        fragment.SetByteStringValue(encoded)
        fragments.AddFragment(fragment)
        element, image = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010)), gdcm.Image()
        element.SetValue(fragments.__ref__())
        image.SetNumberOfDimensions(2)
        image.SetDimensions((columns, rows, 1))
        image.SetDataElement(element)
        image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
        image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
        image.SetPixelFormat(
            gdcm.PixelFormat(1, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation)
        )
        # GDCM returns bytes as text.
        frames.append(image.GetBuffer().encode("utf-8", "surrogateescape"))
    dtype = f"{'i' if dataset.PixelRepresentation else 'u'}{dataset.BitsAllocated // 8}"
    return np.frombuffer(b"".join(frames), dtype).reshape(-1, rows, columns)
