"""A DICOM series as one volume: slices sorted by where they lie, pixels decoded, slope and intercept applied."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.dicom.headers import Slice, read_folder, read_slices
from voxray.scans.formats.dicom.pixels import read_frames
from voxray.scans.formats.dicom.stack import stack_slices
from voxray.storage.paths import AnyPath
from voxray.volume import Volume

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
        That holds all numbers it may have: integers where slope and intercept are such, else float32.
    """

    slices: list[Slice]
    affine: NDArray[np.float64]
    dtype: np.dtype[np.generic]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows and slices."""
        return (*self.slices[0].shape, len(self.slices))


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
        stored = read_frames(file)
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
        found = sorted({file.skipped for file in folder.files if file.skipped and (path.is_dir() or file.path == path)})
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
