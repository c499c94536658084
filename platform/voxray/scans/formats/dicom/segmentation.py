"""DICOM segmentations: the label map of a series, on the grid of that series.

A segmentation holds frames for the slices that it labels only, each with the place or the instance of its slice; the
series lies in the folder of the file, or in a folder beside that.

Source: DICOM PS3.3, A.51 (segmentation IOD), C.8.20 (segmentation image).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.utils import pixel_array

from voxray.errors import ScanError
from voxray.scans.formats.dicom.files import DAMAGED, nameless_errors, read_header
from voxray.scans.formats.dicom.headers import OFF_DIRECTION
from voxray.scans.formats.dicom.objects import STORAGE, VOLUMES, class_of, text
from voxray.scans.formats.dicom.series import Series, read_series
from voxray.scans.geometry import LPS_TO_RAS, world_to_voxel
from voxray.storage.paths import AnyPath, as_file
from voxray.volume import Volume

SEGMENTATION, LABEL_MAP = f"{STORAGE}.66.4", f"{STORAGE}.66.7"
CLASSES = (SEGMENTATION, LABEL_MAP)
KINDS = ("BINARY", "LABELMAP")
MOST_SEGMENTS = 255
OFF_SLICE = 0.25  # share of a slice distance that a frame may be off its slice
OFF_PLANE_MM = 0.5
FIRST_FILES = 3


@dataclass(frozen=True)
class Segments:
    """The series that a segmentation refers to, only for grouping, and the names of its segments by number."""

    series: str
    names: Mapping[int, str]


def read_segments(path: AnyPath) -> Segments | None:
    """The header of a segmentation; None for another object, or a file that cannot be read."""
    if not path.is_file():
        return None
    try:
        header = read_header(path)
        if header is None or class_of(header) not in CLASSES:
            return None
        with nameless_errors(path, DAMAGED):
            return Segments(_series_of(header), _names(header))
    except ScanError:
        return None


def is_segmentation(path: AnyPath) -> bool:
    """Whether a path is a file with a DICOM segmentation."""
    if not path.is_file():
        return False
    try:
        header = read_header(path, ["SOPClassUID"])
    except ScanError:
        return False
    return header is not None and class_of(header) in CLASSES


def grid_of(path: AnyPath) -> Series:
    """The series that a segmentation refers to, before its pixels are read.

    Raises
    ------
    ScanError
        It is neither in the folder of the file nor in one beside it, or it is no regular grid.
    """
    header = read_header(path)
    name = "" if header is None else _series_of(header)
    if not name:
        raise ScanError(str(path), "does not name the one series that it segments", "Export it again")
    folders = (path.parent, *_beside(path.parent))
    # The first files of each folder nearly always tell; a folder may hold several series.
    found = (_file_of(folder, name, most) for most in (FIRST_FILES, None) for folder in folders)
    first = next((file for file in found if file is not None), None)
    if first is None:
        problem = "the series that it refers to is neither in its folder nor in one beside it"
        raise ScanError(str(path), problem, "Put both into one folder")
    return read_series(first)


def open_segmentation(path: AnyPath) -> Volume:
    """Decode a segmentation: (1, column, row, slice) of its series, with 0 where nothing is labeled.

    Where segments overlap, the one with the highest number counts.
    """
    series = grid_of(path)
    columns, rows, count = series.shape
    labels = np.zeros((count, rows, columns), np.uint8)
    with nameless_errors(path, "its segments cannot be understood"):
        dataset = pydicom.dcmread(as_file(path), force=True)
        frames = _frames(path, dataset, (rows, columns))
        for frame, (number, index) in zip(frames, _places(path, dataset, series), strict=True):
            plane = frame if number is None else np.where(frame != 0, np.uint8(number), np.uint8(0))
            labels[index] = np.maximum(labels[index], plane)
    return Volume(labels.transpose(2, 1, 0)[None], series.affine)


def _beside(folder: AnyPath) -> list[AnyPath]:
    """The other folders in the parent of a folder, in the order of their names, and those inside the folder."""
    siblings = sorted((path for path in folder.parent.iterdir() if path.is_dir() and path != folder), key=str)
    return [*siblings, *sorted((path for path in folder.iterdir() if path.is_dir()), key=str)]


def _file_of(folder: AnyPath, series: str, most: int | None) -> AnyPath | None:
    """A slice of a series in a folder, of whose files the first `most` are looked at."""
    for path in sorted((path for path in folder.iterdir() if path.is_file()), key=str)[:most]:
        try:
            header = read_header(path, ["SeriesInstanceUID", "SOPClassUID"])
        except ScanError:
            continue
        if header is not None and text(header, "SeriesInstanceUID") == series and class_of(header) in VOLUMES:
            return path
    return None


def _series_of(header: Dataset) -> str:
    """SeriesInstanceUID of the segmented series."""
    referenced = list(header.get("ReferencedSeriesSequence") or [])
    if len(referenced) != 1:
        return ""
    return text(referenced[0], "SeriesInstanceUID")


def _names(header: Dataset) -> dict[int, str]:
    segments = header.get("SegmentSequence") or []
    return {int(item.SegmentNumber): text(item, "SegmentLabel") or f"segment {item.SegmentNumber}" for item in segments}


def _frames(path: AnyPath, dataset: Dataset, shape: tuple[int, int]) -> NDArray[np.uint8]:
    """The stored numbers (frame, row, column)."""
    kind = text(dataset, "SegmentationType").upper()
    if kind not in KINDS:
        problem = f"expected a segmentation of the type {' or '.join(KINDS)}, got {kind:.20}"
        raise ScanError(str(path), problem, "Export it as binary segments")
    if (dataset.Rows, dataset.Columns) != shape:
        problem = f"has frames of {dataset.Columns}x{dataset.Rows} voxels, and its series of {shape[1]}x{shape[0]}"
        raise ScanError(str(path), problem, "Export it on the grid of its series")
    pixels = np.asarray(pixel_array(dataset)).reshape(-1, *shape)
    if pixels.size and pixels.max() > MOST_SEGMENTS:
        raise ScanError(str(path), f"expected segments up to {MOST_SEGMENTS}, got {pixels.max()}", "Join some")
    return pixels.astype(np.uint8)


def _places(path: AnyPath, dataset: Dataset, series: Series) -> Iterator[tuple[int | None, int]]:
    """The segment of each frame, None in a label map, and the index of its slice."""
    shared = list(dataset.get("SharedFunctionalGroupsSequence") or [])[:1]
    instances = {frame.instance: index for index, frame in enumerate(series.slices)}
    is_map = text(dataset, "SegmentationType").upper() == "LABELMAP"
    for frame in dataset.get("PerFrameFunctionalGroupsSequence") or []:
        groups = (frame, *shared)
        yield None if is_map else _segment(path, groups), _slice(path, groups, series, instances)


def _segment(path: AnyPath, groups: Sequence[Dataset]) -> int:
    item = _macro(groups, "SegmentIdentificationSequence")
    number = int(item.ReferencedSegmentNumber) if item is not None else 0
    if not 1 <= number <= MOST_SEGMENTS:
        raise ScanError(
            str(path), f"expected frames of the segments 1 to {MOST_SEGMENTS}, got {number}", "Renumber them"
        )
    return number


def _slice(path: AnyPath, groups: Sequence[Dataset], series: Series, instances: Mapping[str, int]) -> int:
    """The slice of a frame: by its position, which must be that of a slice of the series, else by its source image."""
    plane, turn = _macro(groups, "PlanePositionSequence"), _macro(groups, "PlaneOrientationSequence")
    first = series.slices[0]
    if turn is not None:
        directions = np.array(turn.ImageOrientationPatient, np.float64).reshape(2, 3)
        if np.abs(directions - first.directions).max() > OFF_DIRECTION:
            raise ScanError(str(path), "its frames face another direction than its series", "Export it on that grid")
    if plane is not None:
        position = np.array([plane.ImagePositionPatient], np.float64) @ LPS_TO_RAS[:3, :3]
        column, row, index = world_to_voxel(series.affine, position)[0].tolist()
        nearest = int(np.rint(index))
        off_mm = max(abs(column) * first.spacing_mm[0], abs(row) * first.spacing_mm[1])
        if abs(index - nearest) <= OFF_SLICE and off_mm <= OFF_PLANE_MM and 0 <= nearest < series.shape[2]:
            return nearest
        raise ScanError(str(path), "has a frame at a position where its series has no slice", "Export it on that grid")
    derivation = _macro(groups, "DerivationImageSequence")
    for source in () if derivation is None else derivation.get("SourceImageSequence") or ():
        if (found := instances.get(text(source, "ReferencedSOPInstanceUID"))) is not None:
            return found
    raise ScanError(str(path), "has a frame without a position or a source image", "Export it again")


def _macro(groups: Sequence[Dataset], name: str) -> Dataset | None:
    """The first item of a sequence in the functional groups of a frame, or else of all frames."""
    return next((items[0] for group in groups if (items := group.get(name))), None)
