"""A DICOM series as one volume: slices sorted by position, pixels decoded, slope and intercept applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.dicom.folder import read_folder
from voxray.scans.formats.dicom.headers import Slice, read_slices
from voxray.scans.formats.dicom.objects import UNKNOWN
from voxray.scans.formats.dicom.pixels import read_frames
from voxray.scans.formats.dicom.stack import stack_slices
from voxray.storage.paths import AnyPath
from voxray.volume import Volume

WHAT_IS_READ = "Name the folder of a CT, MR or PET series, or one of its files"
INTEGERS = ("int16", "uint16", "int32", "int64")


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
        Holds all possible numbers: integers where slope and intercept are integers, else float32.
    """

    slices: list[Slice]
    affine: NDArray[np.float64]
    dtype: np.dtype[np.generic]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        return (*self.slices[0].shape, len(self.slices))


def read_series(path: AnyPath) -> Series:
    """Find the files of a series and the position of their slices; reads no pixel.

    Parameters
    ----------
    path : path
        A folder that holds one series, or one of the files of a series; the others are beside it.

    Raises
    ------
    ScanError
        No series, several, or one whose slices are no regular grid.
    """
    files = _files_of_series(path)
    slices, affine = stack_slices([frame for file in files for frame in read_slices(file)], str(path))
    return Series(slices, affine, _dtype(slices))


def open_series(path: AnyPath) -> Volume:
    """Decode a series: (1, column, row, slice), with the affine of these axes."""
    series = read_series(path)
    columns, rows, count = series.shape
    frames_of: dict[AnyPath, list[int]] = {}
    for index, frame in enumerate(series.slices):
        frames_of.setdefault(frame.path, []).append(index)
    voxels: NDArray[Any] | None = None
    for file, indices in frames_of.items():
        stored = read_frames(file)
        # Not before a file has as many pixels as its header says: a damaged header may ask for terabytes.
        voxels = np.empty((count, rows, columns), series.dtype) if voxels is None else voxels
        for index in indices:
            frame = series.slices[index]
            voxels[index] = _rescaled(stored[frame.frame], frame, series.dtype)
    assert voxels is not None
    return Volume(voxels.transpose(2, 1, 0)[None], series.affine)


def _files_of_series(path: AnyPath) -> list[AnyPath]:
    folder = read_folder(path if path.is_dir() else path.parent)
    for file, reason in folder.broken.items():
        problem = f"cannot be read, so that a slice beside it may be missing: it {reason}"
        raise ScanError(str(file), problem, "Fetch the file again")
    named = [file for file in folder.files if path in (file.path, file.path.parent)]
    series = {file.series for file in named if not file.skipped}
    if len(series) > 1:
        raise ScanError(str(path), f"expected one series, got {len(series)}", "Name a file of one of them")
    if not series:
        reasons = " and ".join(sorted({file.skipped for file in named}))
        raise ScanError(str(path), f"is {reasons}, no scan" if reasons else "holds no DICOM file", WHAT_IS_READ)
    doubtful = [file.path for file in folder.files if file.series in series and file.skipped == UNKNOWN]
    if doubtful:
        raise ScanError(str(doubtful[0]), f"is {UNKNOWN} in a series of slices, so that it may be one", "Remove it")
    return [file.path for file in folder.slices if file.series in series]


def _dtype(slices: Sequence[Slice]) -> np.dtype[np.generic]:
    """The smallest type that holds all rescaled numbers of the slices' bits."""
    rows = [(frame.slope, frame.intercept, frame.bits, frame.signed) for frame in slices]
    slopes, intercepts, bits, signed = columns = np.array(rows, np.float64).T
    if (columns != np.rint(columns)).any():
        return np.dtype("float32")
    lows = np.where(signed, -(2 ** (bits - 1)), 0)
    bounds = np.stack([lows, lows + 2**bits - 1]) * slopes + intercepts
    fitting = (name for name in INTEGERS if np.iinfo(name).min <= bounds.min() and bounds.max() <= np.iinfo(name).max)
    return np.dtype(next(fitting, "float32"))


def _rescaled(stored: NDArray[np.generic], frame: Slice, dtype: np.dtype[Any]) -> NDArray[Any]:
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            scaled = (stored.astype(np.float64) * frame.slope + frame.intercept).astype(dtype)
        if not np.isfinite(scaled).all():
            raise ScanError(str(frame.path), f"RescaleSlope {frame.slope:g} makes numbers too large for {dtype}")
        return scaled
    return (stored.astype(np.int64) * int(frame.slope) + int(frame.intercept)).astype(dtype)
