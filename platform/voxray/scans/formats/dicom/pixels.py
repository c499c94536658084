"""The stored numbers of a DICOM file: pydicom decodes plain, deflated and RLE pixels itself, and others by GDCM.

Stored numbers stay what they are, whatever the transfer syntax and the photometric interpretation: MONOCHROME1 only
says that a viewer should show high numbers dark.

Source: DICOM PS3.5, 8.1 (unused bits), 8.2 and annex A (transfer syntaxes).
"""

import warnings

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from voxray.errors import ScanError
from voxray.scans.formats.dicom.codestreams import stream_shape
from voxray.scans.formats.dicom.files import CUT_OFF, nameless_errors
from voxray.storage.paths import AnyPath, as_file

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
LOSSY_JPEG = (JPEGBaseline8Bit, JPEGExtended12Bit)
STREAMS = (*LOSSY_JPEG, JPEGLossless, JPEGLosslessSV1, *JPEGLSTransferSyntaxes, JPEG2000Lossless, JPEG2000)
MOST_RLE = 64  # times that RLE shrinks: two bytes stand for at most 128
FETCH = "Fetch the file again"


def read_frames(path: AnyPath) -> NDArray[np.generic]:
    """Decode the frames (frame, row, column) of a file, without rescaling.

    Raises
    ------
    ScanError
        The pixels are missing, cut off, of another size than the header says, or cannot be decoded.
    """
    with nameless_errors(path, "its pixels cannot be decoded"):
        dataset = pydicom.dcmread(as_file(path), force=True)
        if "PixelData" not in dataset:
            raise ScanError(str(path), CUT_OFF, FETCH)
        syntax = _syntax(path, dataset)
        if syntax in NATIVE:
            _check_length(path, dataset)
        else:
            _check_streams(path, dataset, syntax)
        pixels = _decode(path, dataset, syntax).reshape(-1, dataset.Rows, dataset.Columns)
        return _without_unused_bits(path, dataset, pixels)


def _syntax(path: AnyPath, dataset: Dataset) -> UID:
    """The transfer syntax; that which pydicom recognized where the file has none, as old files do."""
    syntax = dataset.file_meta.get("TransferSyntaxUID")
    if syntax is None:
        if dataset["PixelData"].is_undefined_length:
            raise ScanError(str(path), "has compressed pixels, but names no transfer syntax", "Export it again")
        is_implicit, is_little = dataset.original_encoding
        syntax = ImplicitVRLittleEndian if is_implicit else ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = syntax
    if syntax not in (*NATIVE, RLELossless, *STREAMS):
        name = f"the transfer syntax {syntax.name}" if syntax.name != syntax else "an unknown transfer syntax"
        raise ScanError(str(path), f"{name} cannot be decoded", "Convert it, for example to Explicit VR Little Endian")
    if syntax in LOSSY_JPEG and dataset.PixelRepresentation == 1:
        raise ScanError(str(path), "has signed numbers in lossy JPEG, which can only hold unsigned ones")
    return UID(syntax)


def _frame_count(dataset: Dataset) -> int:
    return int(dataset.get("NumberOfFrames") or 1)


def _check_length(path: AnyPath, dataset: Dataset) -> None:
    expected = _frame_count(dataset) * dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    found = len(dataset.PixelData)
    if found < expected:
        raise ScanError(str(path), f"is cut off: it holds {found:,} of {expected:,} bytes of pixels", FETCH)
    if any(dataset.PixelData[expected + expected % 2 :]):
        raise ScanError(str(path), f"holds {found:,} bytes of pixels, but its header describes {expected:,}", FETCH)


def _check_streams(path: AnyPath, dataset: Dataset, syntax: UID) -> None:
    """Raise ScanError unless each compressed frame is whole and as large as the header says."""
    expected, count = (int(dataset.Rows), int(dataset.Columns), 1), _frame_count(dataset)
    streams = list(generate_frames(dataset.PixelData, number_of_frames=count))
    if len(streams) != count:
        raise ScanError(str(path), f"expected {count} compressed frames, got {len(streams)}", FETCH)
    for stream in streams:
        if syntax == RLELossless:
            if dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8 > MOST_RLE * len(stream):
                raise ScanError(str(path), CUT_OFF, FETCH)
            continue
        shape = stream_shape(stream)
        if shape is None:
            raise ScanError(str(path), CUT_OFF, FETCH)
        if shape != expected:
            found, described = ("x".join(map(str, (columns, rows))) for rows, columns, _ in (shape, expected))
            problem = f"holds a compressed picture of {found} voxels and {shape[2]} samples, "
            raise ScanError(str(path), f"{problem}but its header describes {described} and one", FETCH)


def _decode(path: AnyPath, dataset: Dataset, syntax: UID) -> NDArray[np.generic]:
    if syntax == JPEGExtended12Bit and dataset.BitsStored > 8:
        return _decode_extended_jpeg(dataset)
    plugin = "gdcm" if syntax in STREAMS else ""
    # pydicom drops what an RLE stream holds beyond the size in the header, with a warning.
    warnings.filterwarnings("error", "The decoded RLE segment contains")
    try:
        return pixel_array(
            dataset, raw=True, decoding_plugin=plugin, correct_unused_bits=False, allow_excess_frames=False
        )
    except UserWarning:
        raise ScanError(str(path), "holds more pixels than its header describes", FETCH) from None


def _without_unused_bits(path: AnyPath, dataset: Dataset, frames: NDArray[np.generic]) -> NDArray[np.generic]:
    """The stored numbers in BitsStored of BitsAllocated bits.

    The unused bits are copies of the sign, or zero, or hold overlays that the header names; where they hold anything
    else, BitsStored is wrong.
    """
    bits, signed = int(dataset.BitsStored), dataset.PixelRepresentation == 1
    frames = frames.astype(frames.dtype.newbyteorder("="), copy=False)
    low, high = (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)
    if low <= int(frames.min()) and int(frames.max()) <= high:
        return frames
    unused = 8 * frames.dtype.itemsize - bits
    numbers: NDArray[np.generic] = np.right_shift(np.left_shift(frames, unused), unused)
    zeros = np.right_shift(frames.view(f"u{frames.dtype.itemsize}"), bits) == 0
    places = (dataset.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2))
    overlays = any(place is not None and place.value for place in places)
    if not overlays and not ((frames == numbers) | zeros).all():
        raise ScanError(str(path), f"holds numbers of more than its {bits} bits", "Correct BitsStored")
    return numbers


def _decode_extended_jpeg(dataset: Dataset) -> NDArray[np.generic]:
    """Frames of 12 bits in lossy JPEG, which GDCM decodes but pydicom's plugin for it refuses."""
    frames = []
    for encoded in generate_frames(dataset.PixelData, number_of_frames=_frame_count(dataset)):
        fragment, fragments = gdcm.Fragment(), gdcm.SequenceOfFragments.New()
        fragment.SetByteStringValue(encoded)
        fragments.AddFragment(fragment)
        element, image = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010)), gdcm.Image()
        element.SetValue(fragments.__ref__())
        image.SetNumberOfDimensions(2)
        image.SetDimensions((dataset.Columns, dataset.Rows, 1))
        image.SetDataElement(element)
        image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
        image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
        image.SetPixelFormat(gdcm.PixelFormat(1, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, 0))
        # GDCM returns bytes as text.
        frames.append(image.GetBuffer().encode("utf-8", "surrogateescape"))
    return np.frombuffer(b"".join(frames), f"u{dataset.BitsAllocated // 8}")
