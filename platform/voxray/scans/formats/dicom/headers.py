"""DICOM headers: the series of each file, and the position of its slices.

Source: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.16 (functional groups of multi-frame objects), C.11.1 (rescale).
Headers are full of names and dates. Only this module reads them; only geometry and intensity become part of a volume,
and messages repeat no value of a header.
"""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError

from voxray.errors import ScanError, WorkError
from voxray.storage.paths import AnyPath, as_file

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"  # single-frame; those of several frames have further numbers
DIRECTORY = "1.2.840.10008.1.3.10"  # DICOMDIR
# Storage classes of CT, MR and PET, plain, enhanced and converted: a file of one without an image has been cut off.
SLICE_CLASSES = frozenset(
    f"1.2.840.10008.5.1.4.1.1.{end}" for end in ("2", "2.1", "2.2", "4", "4.1", "4.4", "128", "128.1", "130")
)
IDENTITY = ["SOPClassUID", "ImageType", "SeriesInstanceUID", "PatientID", "Rows", "SamplesPerPixel"]
SUFFIXES = (".dcm", ".dicom", ".ima")
DAMAGED = "is cut off or damaged: its header cannot be read"

# Invalid values are handled here; warnings of the library would repeat them.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class DicomFile:
    """The series of a file.

    Attributes
    ----------
    path : path
    series, patient : str
        SeriesInstanceUID and PatientID, only for grouping.
    skipped : str
        Why it is not part of a scan, such as "a localizer"; empty for a slice.
    """

    path: AnyPath
    series: str
    patient: str
    skipped: str


@dataclass(frozen=True)
class DicomFolder:
    """The files directly in a folder, in the order of their names.

    Attributes
    ----------
    files : tuple of DicomFile
    broken : tuple of path
        Files that should be DICOM but are empty or damaged.
    others : int
        Number of files of another kind.
    """

    files: tuple[DicomFile, ...]
    broken: tuple[AnyPath, ...]
    others: int

    @property
    def slices(self) -> tuple[DicomFile, ...]:
        """The files that are parts of scans."""
        return tuple(file for file in self.files if not file.skipped)


@dataclass(frozen=True, eq=False)
class Slice:
    """One frame of a file.

    Attributes
    ----------
    path : path
    frame : int
        From 0.
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
    shape: tuple[int, int]
    position: Vector
    directions: Vector
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    slope: float
    intercept: float
    bits: int
    signed: bool


def read_folder(folder: AnyPath) -> DicomFolder:
    """Read the headers of the files directly in a folder, without pixels."""
    files, broken = [], []
    for path in sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")):
        try:
            files.append(_identify(path))
        except ScanError:
            broken.append(path)
    return DicomFolder(tuple(filter(None, files)), tuple(broken), files.count(None))


def read_slices(path: AnyPath) -> list[Slice]:
    """Read the geometry of a file's frames and the meaning of their numbers, without pixels."""
    dataset = _read(path)
    if dataset.get("ModalityLUTSequence"):
        raise ScanError(str(path), "a Modality LUT is not supported", "Convert it to slope and intercept")
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    count = _number(path, dataset, "NumberOfFrames", 1)
    if not frames:
        if count != 1:
            raise ScanError(str(path), f"holds {count:.0f} frames without a position for each")
        return [_slice(path, 0, dataset, ())]
    if count != len(frames):
        raise ScanError(str(path), f"expected {count:.0f} positions of frames, got {len(frames)}")
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    return [_slice(path, number, dataset, (frame, *shared)) for number, frame in enumerate(frames)]


@contextmanager
def nameless_errors(path: AnyPath, problem: str) -> Iterator[None]:
    """Turn exceptions of the library into ScanError without their text, which may repeat values of the header."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ScanError, WorkError, InvalidDicomError, OSError):
        raise
    except Exception as error:  # noqa: BLE001  a damaged header can raise anything
        raise ScanError(str(path), f"{problem} ({type(error).__name__})", "Fetch the file again") from None


def _read(path: AnyPath, tags: list[str] | None = None) -> Dataset:
    with nameless_errors(path, DAMAGED):
        return pydicom.dcmread(as_file(path), stop_before_pixels=True, specific_tags=tags)


def _identify(path: AnyPath) -> DicomFile | None:
    """None for a file of another kind; ScanError for one that should be part of a series."""
    try:
        header = _read(path, IDENTITY)
    except InvalidDicomError:
        if path.suffix.lower() in SUFFIXES or path.stat().st_size == 0:
            raise ScanError(str(path), "not a DICOM file") from None
        return None
    if header.file_meta.get("MediaStorageSOPClassUID") == DIRECTORY:
        return None
    series, patient = _text(header, "SeriesInstanceUID"), _text(header, "PatientID").strip()
    is_cut_off = _text(header, "SOPClassUID") in SLICE_CLASSES and not header.get("Rows")
    if not series or is_cut_off:
        raise ScanError(str(path), DAMAGED)
    return DicomFile(path, series, patient, _why_skipped(header))


def _text(header: Dataset, keyword: str) -> str:
    return str(header.get(keyword) or "")


def _why_skipped(header: Dataset) -> str:
    image_type = header.get("ImageType") or ()
    types = {image_type} if isinstance(image_type, str) else set(image_type)
    reasons = {
        "a secondary capture": f"{_text(header, 'SOPClassUID')}.".startswith(f"{SECONDARY_CAPTURE}."),
        "a screen save": "SCREEN SAVE" in types,
        "a localizer": "LOCALIZER" in types,
        "no image": not header.get("Rows"),
        "a color picture": header.get("SamplesPerPixel", 1) != 1,
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _slice(path: AnyPath, frame: int, dataset: Dataset, groups: Sequence[Dataset]) -> Slice:
    """A frame; `groups` are its functional groups and those of all frames, none in a single-frame file."""

    def numbers(macro: str, keyword: str, count: int) -> list[float]:
        for source in (*(inner for group in groups for inner in group.get(macro) or ()), dataset):
            if source.get(keyword) is not None:
                return _numbers(path, source, keyword, count)
        raise ScanError(str(path), f"has no {keyword}, so its position is unknown")

    def number(macro: str, keyword: str, default: float) -> float:
        sources = [inner for group in groups for inner in group.get(macro) or () if keyword in inner]
        return _number(path, (sources or [dataset])[0], keyword, default)

    row_mm, column_mm = numbers("PixelMeasuresSequence", "PixelSpacing", 2)
    rows, columns, bits = (_number(path, dataset, name, 0) for name in ("Rows", "Columns", "BitsStored"))
    thickness_mm = number("PixelMeasuresSequence", "SliceThickness", 0)
    return Slice(
        path=path,
        frame=frame,
        shape=(int(columns), int(rows)),
        position=np.array(numbers("PlanePositionSequence", "ImagePositionPatient", 3)),
        directions=np.array(numbers("PlaneOrientationSequence", "ImageOrientationPatient", 6)).reshape(2, 3),
        spacing_mm=(column_mm, row_mm),
        thickness_mm=thickness_mm if thickness_mm > 0 else None,
        slope=number("PixelValueTransformationSequence", "RescaleSlope", 1),
        intercept=number("PixelValueTransformationSequence", "RescaleIntercept", 0),
        bits=int(bits),
        signed=_number(path, dataset, "PixelRepresentation", 0) == 1,
    )


def _number(path: AnyPath, source: Dataset, keyword: str, default: float) -> float:
    return float(default) if source.get(keyword) is None else _numbers(path, source, keyword, 1)[0]


def _numbers(path: AnyPath, source: Dataset, keyword: str, count: int) -> list[float]:
    with nameless_errors(path, f"{keyword} is not a number"):
        value: Any = source.get(keyword)
        values: list[float] = np.atleast_1d(np.array(value, dtype=float)).tolist()
    if len(values) != count or not np.isfinite(values).all():
        raise ScanError(str(path), f"{keyword}: expected {count} finite numbers, got {len(values)}")
    return values
