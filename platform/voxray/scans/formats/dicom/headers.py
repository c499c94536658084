"""DICOM headers: the position of each slice, and what its stored numbers mean.

Source: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.16 (functional groups of multi-frame objects), C.11.1 (rescale).
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from voxray.errors import ScanError
from voxray.scans.formats.dicom.files import CUT_OFF, nameless_errors, read_header_and_rest
from voxray.scans.formats.dicom.objects import SCALED, class_of, text
from voxray.storage.paths import AnyPath

BITS_ALLOCATED = (8, 16, 32)
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)
OFF_DIRECTION = 1e-3  # headers round: directions may differ by this

Vector = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of a file.

    Attributes
    ----------
    path : path
    frame : int
        From 0.
    instance : str
        SOPInstanceUID, only to tell copies of a file from other slices at the same position.
    shape : tuple of int
        Columns and rows.
    position : ndarray, (3,)
        Center of the first voxel, mm, LPS.
    directions : ndarray, (2, 3)
        Unit vectors, LPS, along which columns and rows are counted.
    spacing_mm : tuple of float
        Between columns and between rows.
    thickness_mm : float, optional
    slope, intercept : float
        From stored numbers to the scan's own.
    bits : int
    signed : bool
        Of the stored numbers.
    """

    path: AnyPath
    frame: int
    instance: str
    shape: tuple[int, int]
    position: Vector
    directions: Vector
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    slope: float
    intercept: float
    bits: int
    signed: bool


def read_slices(path: AnyPath) -> list[Slice]:
    """Read the geometry of a file's frames and the meaning of their numbers, without pixels.

    Raises
    ------
    ScanError
        An element that is needed is missing, or is not what it should be.
    """
    found = read_header_and_rest(path)
    if found is None:
        raise ScanError(str(path), "is no DICOM file")
    dataset, rest = found
    with nameless_errors(path, "its header cannot be understood"):
        slices = list(_slices(path, dataset))
        _check_rest(path, dataset, slices, rest)
    return slices


def _check_rest(path: AnyPath, dataset: Dataset, slices: Sequence[Slice], rest: int) -> None:
    """Raise ScanError where the `rest` of a file behind its header is shorter than its uncompressed pixels."""
    if dataset.file_meta.get("TransferSyntaxUID") not in PLAIN:
        return
    is_implicit, _ = dataset.original_encoding
    found = max(0, rest - (8 if is_implicit else 12))  # the tag and the length of the pixels come first
    expected = sum(math.prod(frame.shape) for frame in slices) * dataset.BitsAllocated // 8
    if found < expected:
        problem = f"is cut off: it holds {found:,} of {expected:,} bytes of pixels"
        raise ScanError(str(path), problem if rest else CUT_OFF, "Fetch the file again")


def _slices(path: AnyPath, dataset: Dataset) -> Iterator[Slice]:
    if dataset.get("ModalityLUTSequence"):
        raise ScanError(str(path), "a Modality LUT is not supported", "Convert it to slope and intercept")
    _check_bits(path, dataset)
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    count = _number(path, dataset, "NumberOfFrames", 1)
    if not frames:
        if count != 1:
            raise ScanError(str(path), f"holds {count:.0f} frames without a position for each")
        yield _slice(path, 0, dataset, ())
        return
    if count != len(frames):
        raise ScanError(str(path), f"expected {count:.0f} positions of frames, got {len(frames)}")
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    for number, frame in enumerate(frames):
        yield _slice(path, number, dataset, (frame, *shared))


def _check_bits(path: AnyPath, dataset: Dataset) -> None:
    allocated, stored = (_number(path, dataset, name, None) for name in ("BitsAllocated", "BitsStored"))
    high, sign = _number(path, dataset, "HighBit", stored - 1), _number(path, dataset, "PixelRepresentation", None)
    if allocated not in BITS_ALLOCATED:
        raise ScanError(str(path), f"BitsAllocated: expected 8, 16 or 32, got {allocated:g}")
    if not 1 <= stored <= allocated or stored != int(stored):
        raise ScanError(str(path), f"BitsStored: expected 1 to {allocated:g}, got {stored:g}")
    if high != stored - 1:
        raise ScanError(str(path), f"HighBit: expected {stored - 1:g} for {stored:g} bits, got {high:g}")
    if sign not in (0, 1):
        raise ScanError(str(path), f"PixelRepresentation: expected 0 or 1, got {sign:g}")


def _slice(path: AnyPath, frame: int, dataset: Dataset, groups: Sequence[Dataset]) -> Slice:
    """A frame; `groups` are its functional groups and those of all frames, none in a single-frame file."""

    def source(macro: str, keyword: str) -> Dataset:
        inner = (item for group in groups for item in group.get(macro) or ())
        return next((item for item in inner if item.get(keyword) is not None), dataset)

    def numbers(macro: str, keyword: str, count: int) -> list[float]:
        return _numbers(path, source(macro, keyword), keyword, count)

    def number(macro: str, keyword: str, default: float | None) -> float:
        return _number(path, source(macro, keyword), keyword, default)

    row_mm, column_mm = spacing = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    if min(spacing) <= 0:
        raise ScanError(str(path), f"PixelSpacing: expected positive numbers, got {min(spacing):g}")
    directions = np.array(numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)).reshape(2, 3)
    if np.abs(directions @ directions.T - np.eye(2)).max() > OFF_DIRECTION:
        raise ScanError(str(path), "ImageOrientationPatient: expected unit vectors at a right angle")
    rows, columns, bits = (_number(path, dataset, name, None) for name in ("Rows", "Columns", "BitsStored"))
    thickness_mm = number("PixelMeasuresSequence", "SliceThickness", 0)
    is_scaled = class_of(dataset) in SCALED
    slope = number("PixelValueTransformationSequence", "RescaleSlope", None if is_scaled else 1)
    if slope == 0:
        raise ScanError(str(path), "RescaleSlope is 0, so that all voxels would be equal")
    return Slice(
        path=path,
        frame=frame,
        instance=text(dataset, "SOPInstanceUID"),
        shape=(int(columns), int(rows)),
        position=np.array(numbers("PlanePositionSequence", "ImagePositionPatient", 3)),
        directions=directions,
        spacing_mm=(column_mm, row_mm),
        thickness_mm=thickness_mm if thickness_mm > 0 else None,
        slope=slope,
        intercept=number("PixelValueTransformationSequence", "RescaleIntercept", None if is_scaled else 0),
        bits=int(bits),
        signed=_number(path, dataset, "PixelRepresentation", None) == 1,
    )


def _number(path: AnyPath, source: Dataset, keyword: str, default: float | None) -> float:
    """A number, or the default where it is missing; ScanError where there is no default."""
    if default is not None and source.get(keyword) is None:
        return float(default)
    return _numbers(path, source, keyword, 1)[0]


def _numbers(path: AnyPath, source: Dataset, keyword: str, count: int) -> list[float]:
    with nameless_errors(path, f"{keyword} is not a number"):
        value: Any = source.get(keyword)
        if value is None:
            raise ScanError(str(path), f"has no {keyword}, which every slice needs")
        values: list[float] = np.atleast_1d(np.array(value, dtype=float)).tolist()
    if len(values) != count or not np.isfinite(values).all():
        raise ScanError(str(path), f"{keyword}: expected {count} finite numbers, got {len(values)}")
    return values
