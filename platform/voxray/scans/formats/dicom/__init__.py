"""DICOM series, and segmentations of them, to volumes."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from voxray.scans.formats.base import FileHeader, Format, on_disk
from voxray.scans.formats.dicom.signature import START, SUFFIXES, begins_as_dicom
from voxray.storage.paths import AnyPath, read_start
from voxray.volume import Volume

# The series reader, with pydicom and GDCM, is imported where it is used.


def is_dicom(path: AnyPath) -> bool:
    """Whether a path is a folder, which is taken for one of DICOM files, or a file that is named or begins as DICOM."""
    if not path.is_file():
        return path.is_dir()
    return path.suffix.lower() in SUFFIXES or begins_as_dicom(read_start(path, START))


def _read(path: AnyPath) -> Volume:
    from voxray.scans.formats.dicom.segmentation import is_segmentation, open_segmentation
    from voxray.scans.formats.dicom.series import open_series

    if is_segmentation(path):
        with _study_on_disk(path) as copy:
            return open_segmentation(copy)
    with _series_on_disk(path) as copy:
        return open_series(copy)


def _read_header(path: AnyPath) -> FileHeader:
    from voxray.scans.formats.dicom.segmentation import grid_of, is_segmentation
    from voxray.scans.formats.dicom.series import read_series

    if is_segmentation(path):
        with _study_on_disk(path) as copy:
            grid = grid_of(copy)
        return FileHeader(1, grid.shape, np.dtype("uint8"), grid.affine, (path,))
    with _series_on_disk(path) as copy:
        series = read_series(copy)
    folder = path if path.is_dir() else path.parent
    files = tuple({folder / frame.path.name for frame in series.slices})
    return FileHeader(1, series.shape, series.dtype, series.affine, files)


def _files(path: AnyPath) -> list[AnyPath]:
    """All files in the folder of a series, because only their headers say which of them belong to it."""
    return [file for file in (path if path.is_dir() else path.parent).iterdir() if file.is_file()]


@contextmanager
def _study_on_disk(path: AnyPath) -> Iterator[Path]:
    """A segmentation on a local disk, with the folders beside its own: one of them holds its series."""
    with on_disk(path.parent.parent) as copy:
        yield copy / path.parent.name / path.name


@contextmanager
def _series_on_disk(path: AnyPath) -> Iterator[Path]:
    """A series on a local disk, whose files lie beside the named one."""
    folder = path if path.is_dir() else path.parent
    with on_disk(folder) as copy:
        yield copy if folder == path else copy / path.name


DICOM = Format("DICOM", (), _read, _read_header, is_dicom, _files)
