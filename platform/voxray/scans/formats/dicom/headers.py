"""DICOM files: which series each belongs to, and where its slices lie.

Source: DICOM PS3.3, C.7.6.2 (image plane), C.7.6.16 (functional groups of multi-frame objects), C.11.1 (rescale).
A header is full of names and dates. What is read of it stands here; only geometry and intensity go on into a volume,
and messages repeat no value of it.
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
IDENTITY = (
    "SOPClassUID",
    "ImageType",
    "SeriesInstanceUID",
    "PatientID",
    "Rows",
    "SamplesPerPixel",
)
SUFFIXES = (".dcm", ".dicom", ".ima")
DAMAGED = "is cut off or damaged: its header cannot be read"

# Values that do not follow the standard are judged here, and warnings of the library would repeat them.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE

Vector = NDArray[np.float64]


@dataclass(frozen=True)
class DicomFile:
    """What says where a file belongs.

    Attributes
    ----------
    path : Place
    series, patient : str
        SeriesInstanceUID and PatientID: to group by, and for no one else's eyes.
    skipped : str
        Why it is no part of a scan, such as "a localizer"; empty for a slice.
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
    broken : tuple of Place
        Files that should be DICOM, but are empty or damaged.
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
    path : Place
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
    """Look at the headers of the files directly in a folder; reads no pixel."""
    files, broken, others = [], [], 0
    for path in sorted(entry for entry in folder.iterdir() if entry.is_file() and not entry.name.startswith(".")):
        try:
            file = _identify(path)
        except ScanError:
            broken.append(path)
            continue
        if file is not None:
            files.append(file)
        others += file is None
    return DicomFolder(tuple(files), tuple(broken), others)


def read_slices(path: AnyPath) -> list[Slice]:
    """Where the frames of a file lie, and what their numbers mean; reads no pixel.

    Raises
    ------
    ScanError
        Something of that is missing or cannot be.
    """
    dataset = _read(path)
    if dataset.get("ModalityLUTSequence"):
        raise ScanError(str(path), "its numbers go through a table (Modality LUT), which is not supported")
    frames = dataset.get("PerFrameFunctionalGroupsSequence")
    count = _number(path, dataset, "NumberOfFrames", 1)
    if not frames:
        if count != 1:
            raise ScanError(str(path), f"holds {count:.0f} frames, but no place for each of them")
        return [_slice(path, 0, dataset, ())]
    if count != len(frames):
        raise ScanError(str(path), f"says that it holds {count:.0f} frames, but places {len(frames)}")
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    return [_slice(path, number, dataset, (frame, *shared)) for number, frame in enumerate(frames)]


@contextmanager
def nameless_errors(path: AnyPath, problem: str) -> Iterator[None]:
    """Turn whatever the library raises into ScanError without its words, which may repeat what the header says."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except (ScanError, WorkError, InvalidDicomError, OSError):
        raise
    except Exception as error:  # noqa: BLE001  a damaged header can raise anything
        raise ScanError(str(path), f"{problem} ({type(error).__name__})", "Fetch the file again") from None


def _read(path: AnyPath, tags: Sequence[str] | None = None) -> Dataset:
    with nameless_errors(path, DAMAGED):
        wanted = None if tags is None else list(tags)
        return pydicom.dcmread(as_file(path), stop_before_pixels=True, specific_tags=wanted)


def _identify(path: AnyPath) -> DicomFile | None:
    """None for a file of another kind; ScanError for one that should be a part of a series."""
    try:
        header = _read(path, IDENTITY)
    except InvalidDicomError:
        if path.suffix.lower() in SUFFIXES or path.stat().st_size == 0:
            raise ScanError(str(path), "is no DICOM file") from None
        return None
    series, kind = str(header.get("SeriesInstanceUID") or ""), str(header.get("SOPClassUID") or "")
    if header.file_meta.get("MediaStorageSOPClassUID") == DIRECTORY:
        return None
    if not series or (kind in SLICE_CLASSES and not header.get("Rows")):
        raise ScanError(str(path), DAMAGED)
    return DicomFile(path, series, str(header.get("PatientID") or "").strip(), _why_skipped(header, kind))


def _why_skipped(header: Dataset, kind: str) -> str:
    said = header.get("ImageType")
    image_type = {said} if isinstance(said, str) else set(said or ())
    if kind == SECONDARY_CAPTURE or kind.startswith(f"{SECONDARY_CAPTURE}.") or "SCREEN SAVE" in image_type:
        return "a secondary capture"
    if "LOCALIZER" in image_type:
        return "a localizer"
    if not header.get("Rows"):
        return "no image"
    return "a color picture" if header.get("SamplesPerPixel", 1) != 1 else ""


def _slice(path: AnyPath, frame: int, dataset: Dataset, groups: Sequence[Dataset]) -> Slice:
    """A frame; `groups` are its own functional groups and those of all frames, none in a plain file."""

    def numbers(macro: str, keyword: str, count: int) -> list[float]:
        for source in (*(inner for group in groups for inner in group.get(macro) or ()), dataset):
            if source.get(keyword) is not None:
                return _numbers(path, source, keyword, count)
        raise ScanError(str(path), f"has no {keyword}: it has no known place in space")

    def number(macro: str, keyword: str, default: float) -> float:
        found = [inner for group in groups for inner in group.get(macro) or () if keyword in inner]
        return _number(path, (found or [dataset])[0], keyword, default)

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
    with nameless_errors(path, f"{keyword} is no number"):
        value: Any = source.get(keyword)
        found = [float(each) for each in (value if isinstance(value, pydicom.multival.MultiValue) else [value])]
    if len(found) != count or not np.isfinite(found).all():
        raise ScanError(str(path), f"{keyword}: expected {count} finite numbers, got {len(found)}")
    return found
