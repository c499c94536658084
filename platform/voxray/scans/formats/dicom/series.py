"""A DICOM series as one volume: slices sorted by where they lie, pixels decoded, slope and intercept applied."""

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pydicom
import SimpleITK
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import pixel_array
from pydicom.uid import UID, RLELossless

from voxray.errors import ScanError
from voxray.scans.formats.dicom.headers import SECONDARY_CAPTURE, Slice, nameless_errors, read_folder, read_slices
from voxray.scans.formats.dicom.stack import stack_slices
from voxray.storage.paths import AnyPath, as_file, read_start
from voxray.volume import Volume

INTEGERS = ("int16", "uint16", "int32", "int64")
PIXEL_FORM = (
    "Rows",
    "Columns",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)


@dataclass(frozen=True, eq=False)
class Series:
    """A series before its pixels are read.

    Attributes
    ----------
    slices : list of Slice
        In the order of the third axis.
    affine : ndarray, (4, 4)
        Index (column, row, slice) to world millimeters, RAS.
    dtype : numpy.dtype
        That holds all numbers it may have: integers where slope and intercept are such, else float32.
    """

    slices: list[Slice]
    affine: NDArray[np.float64]
    dtype: np.dtype[np.generic]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        return (*self.slices[0].shape, len(self.slices))


def is_dicom(path: AnyPath) -> bool:
    """Whether a path is a folder, which is taken for one of DICOM files, or begins as they do."""
    return path.is_dir() or (path.is_file() and read_start(path, 132)[128:] == b"DICM")


def read_series(path: AnyPath) -> Series:
    """Find the files of a series and where their slices lie; reads no pixel.

    Parameters
    ----------
    path : Place
        A folder that holds one series, or one of the files of a series; the others lie beside it.

    Raises
    ------
    ScanError
        No series, several, or one whose slices make no regular grid.
    """
    files = _files_of_series(path)
    slices, affine = stack_slices([each for file in files for each in read_slices(file)], str(path))
    return Series(slices, affine, _dtype(slices))


def open_series(path: AnyPath) -> Volume:
    """Decode a series.

    Returns
    -------
    Volume
        (1, column, row, slice), with the affine of these axes.

    Raises
    ------
    ScanError
    """
    series = read_series(path)
    columns, rows, count = series.shape
    voxels = np.empty((count, rows, columns), series.dtype)
    places: dict[AnyPath, list[tuple[int, Slice]]] = {}
    for place, each in enumerate(series.slices):
        places.setdefault(each.path, []).append((place, each))
    for file, mine in places.items():
        stored = _read_frames(file)
        if stored.shape[1:] != (rows, columns) or len(stored) < len(mine):
            raise ScanError(str(file), f"its pixels have the shape {stored.shape}, its header says another")
        for place, each in mine:
            voxels[place] = _rescaled(stored[each.frame], each, series.dtype)
    return Volume(voxels.transpose(2, 1, 0)[None], series.affine)


def _files_of_series(path: AnyPath) -> list[AnyPath]:
    folder = read_folder(path if path.is_dir() else path.parent)
    if folder.broken:
        problem = "cannot be read, so that a slice beside it may be missing"
        raise ScanError(str(folder.broken[0]), problem, "Fetch the file again")
    wanted = {file.series for file in folder.slices if path.is_dir() or file.path == path}
    if not wanted:
        found = sorted({file.aside for file in folder.files if file.aside and (path.is_dir() or file.path == path)})
        raise ScanError(str(path), f"is {' and '.join(found)}, no scan" if found else "holds no DICOM file")
    if len(wanted) > 1:
        raise ScanError(str(path), f"holds {len(wanted)} series", "Name a file of the one that is meant")
    return [file.path for file in folder.slices if file.series in wanted]


def _dtype(slices: Sequence[Slice]) -> np.dtype[np.generic]:
    bounds: list[float] = []
    for each in slices:
        low = -(2 ** (each.bits - 1)) if each.signed else 0
        bounds += [low * each.slope + each.intercept, (low + 2**each.bits - 1) * each.slope + each.intercept]
    if not all(each.slope.is_integer() and each.intercept.is_integer() for each in slices):
        return np.dtype("float32")
    holding = (
        np.dtype(name) for name in INTEGERS if np.iinfo(name).min <= min(bounds) and max(bounds) <= np.iinfo(name).max
    )
    return next(holding, np.dtype("float32"))


def _rescaled(stored: NDArray[np.generic], each: Slice, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        return (stored.astype(np.float64) * each.slope + each.intercept).astype(dtype)
    numbers = stored.astype(np.int64) * int(each.slope) + int(each.intercept)
    if numbers.min() < np.iinfo(dtype).min or numbers.max() > np.iinfo(dtype).max:
        raise ScanError(str(each.path), f"holds numbers of more than its {each.bits} bits")
    return numbers.astype(dtype)


def _read_frames(path: AnyPath) -> NDArray[np.generic]:
    """The stored numbers of a file, (frame, row, column)."""
    with nameless_errors(path, "its pixels cannot be decoded"):
        dataset = pydicom.dcmread(as_file(path))
        if "PixelData" not in dataset:
            raise ScanError(str(path), "is cut off before the end of its pixels", "Fetch the file again")
        syntax = dataset.file_meta.TransferSyntaxUID
        if syntax.is_encapsulated and syntax != RLELossless:
            count = int(dataset.get("NumberOfFrames") or 1)
            frames = generate_frames(dataset.PixelData, number_of_frames=count)
            return np.stack([_decode(frame, dataset, syntax) for frame in frames])
        _check_length(path, dataset)
        pixels: NDArray[np.generic] = pixel_array(dataset)
    return pixels.reshape(-1, *pixels.shape[-2:])


def _check_length(path: AnyPath, dataset: Dataset) -> None:
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    count = int(dataset.get("NumberOfFrames") or 1)
    wanted = count * dataset.Rows * dataset.Columns * dataset.BitsAllocated // 8
    if len(dataset.PixelData) < wanted:
        problem = f"is cut off: it holds {len(dataset.PixelData):,} of {wanted:,} bytes of pixels"
        raise ScanError(str(path), problem, "Fetch the file again")


def _decode(frame: bytes, dataset: Dataset, syntax: UID) -> NDArray[np.generic]:
    """A compressed frame (row, column) by ITK's GDCM, which reads files only.

    What it is given says how the pixels are coded and nothing else, so that it neither rescales nor guesses.
    """
    bare = Dataset()
    for name in PIXEL_FORM:
        setattr(bare, name, dataset[name].value)
    bare.SOPClassUID, bare.SOPInstanceUID = UID(SECONDARY_CAPTURE), pydicom.uid.generate_uid()
    bare.PixelData = encapsulate([frame])
    bare["PixelData"].VR = "OB"
    bare.file_meta = FileMetaDataset()
    bare.file_meta.TransferSyntaxUID = syntax
    with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
        pydicom.dcmwrite(file, bare, enforce_file_format=True)
        file.flush()
        decoded = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file.name))
    pixels: NDArray[np.generic] = decoded.reshape(decoded.shape[-2:])
    return pixels
