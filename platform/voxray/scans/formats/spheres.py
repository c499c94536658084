"""A mask that no file holds: the spheres that a list of annotations gives of a scan.

``LIST.csv/SCAN.mhd/spheres`` is its path: the list in the format of LUNA16, and the scan, relative to the list's
folder, whose grid the mask has.
"""

import csv

import numpy as np

from voxray.scans.formats.base import FileHeader, Format
from voxray.scans.formats.metaimage_header import parse_header
from voxray.scans.geometry import LPS_TO_RAS
from voxray.scans.spheres import paint_spheres
from voxray.storage.csv_text import csv_header
from voxray.storage.paths import AnyPath, read_bytes, relative_path
from voxray.volume import Volume

NAME, SUFFIX = "spheres", ".csv"
SERIES, NUMBERS = "seriesuid", ("coordX", "coordY", "coordZ", "diameter_mm")  # in world millimeters, LPS


def spheres_path(annotations: str, scan: str) -> str:
    """The path of the mask of a scan; all three are relative to the folder of the list."""
    return f"{annotations}/{scan}/{NAME}"


def _list_of(path: AnyPath) -> AnyPath | None:
    return next((parent for parent in path.parents if parent.suffix.lower() == SUFFIX), None)


def _is_mask(path: AnyPath) -> bool:
    return path.name == NAME and _list_of(path) is not None


def _files(path: AnyPath) -> tuple[AnyPath, ...]:
    annotations = _list_of(path)
    return () if annotations is None else (annotations,)


def _scan_of(path: AnyPath) -> tuple[AnyPath, AnyPath]:
    """The list and the scan."""
    (annotations,) = _files(path)
    return annotations, annotations.parent / relative_path(annotations, path.parent)


def _read_header(path: AnyPath) -> FileHeader:
    grid = parse_header(_scan_of(path)[1])
    return FileHeader(1, grid.shape, np.dtype(np.uint8), grid.affine, ())


def _read(path: AnyPath) -> Volume:
    annotations, scan = _scan_of(path)
    spheres = _spheres(read_bytes(annotations).decode("utf-8-sig"), scan.stem)
    centers = spheres[:, :3] @ LPS_TO_RAS[:3, :3]
    grid = parse_header(scan)
    return Volume(paint_spheres(grid.shape, grid.affine, centers, spheres[:, 3])[None], grid.affine)


def _spheres(content: str, series: str) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """The numbers of the series' lines (n, 4); NaN for an empty cell."""
    content = content.lstrip("\r\n")
    names, delimiter = csv_header(content)
    lines = csv.DictReader(content.splitlines()[1:], names, delimiter=delimiter)
    rows = [
        [float(line[name].strip() or "nan") for name in NUMBERS] for line in lines if line[SERIES].strip() == series
    ]
    return np.array(rows, np.float64).reshape(-1, len(NUMBERS))


SPHERES = Format("spheres of a list", (), _read, _read_header, matches=_is_mask, files=_files)
