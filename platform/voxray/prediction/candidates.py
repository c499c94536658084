"""A list of points in scans that are to be classified."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.datasets.csv_lists import read_csv
from voxray.datasets.point_lists import COORDINATES, SERIES
from voxray.errors import DataError
from voxray.inference.detector import Candidates
from voxray.scans.geometry import world_to_voxel
from voxray.storage.paths import AnyPath
from voxray.volume import Volume

NAMED = 3  # series in a message
LPS = (-1.0, -1.0, 1.0)  # signs of LPS for RAS, and of RAS for LPS


@dataclass(frozen=True, eq=False)
class PointList:
    """The points of a list.

    Attributes
    ----------
    name : str
        Of the file.
    by_scan : mapping of str to Candidates
        Those of scans that the list names.
    """

    name: str
    by_scan: Mapping[str, Candidates]

    def points_of(self, scan: str) -> Candidates:
        """The points of a scan; none where the list does not name it."""
        return self.by_scan.get(scan, Candidates(np.zeros((0, 3)), np.zeros(0)))


def read_points(path: AnyPath, scans: Sequence[str]) -> tuple[PointList, list[str]]:
    """The points of scans in a list ``seriesuid,coordX,coordY,coordZ[,diameter_mm]``, world millimeters, LPS.

    Parameters
    ----------
    path : path
        A CSV file. Without a row it is a list of no points.
    scans : sequence of str
        Names as in the column ``seriesuid``.

    Returns
    -------
    PointList
    list of str
        Notes on scans that the list does not name, on series without a scan, and on repeated points.

    Raises
    ------
    DataError
        Missing or unreadable file, a missing column, a coordinate that is no number, or rows of other scans only.
    """
    table = read_csv(
        path, (SERIES, *COORDINATES), text=(SERIES,), numbers=(*COORDINATES, "diameter_mm"), may_be_empty=True
    )
    own = table.filter(pc.is_in(table[SERIES], value_set=pa.array(scans, pa.string())))
    if table.num_rows and not own.num_rows:
        problem = f"holds no candidate of {_named('scan', scans)}; its series are {_some(_series(table))}"
        raise DataError(str(path), problem, "The scan's file must be named as its series is")
    lps = np.stack([np.asarray(own[axis].to_numpy(), np.float64) for axis in COORDINATES], axis=1)
    finite = np.isfinite(lps).all(axis=1)
    if not finite.all():
        series = own[SERIES][int(np.argmin(finite))].as_py()
        raise DataError(str(path), f"a coordinate of '{series}' is no number", "Correct these rows")
    known = "diameter_mm" in own.column_names
    diameters = np.asarray(own["diameter_mm"].to_numpy(), np.float64) if known else np.full(len(lps), np.nan)
    diameters = np.where(diameters > 0, diameters, np.nan)
    numbers = np.asarray(pc.index_in(own[SERIES], value_set=pa.array(scans, pa.string())).to_numpy(), np.int64)
    order = np.argsort(numbers, kind="stable")
    parts = np.split(order, np.searchsorted(numbers[order], np.arange(1, len(scans))))
    by_scan = {
        scan: Candidates(lps[rows] * LPS, diameters[rows]) for scan, rows in zip(scans, parts, strict=True) if len(rows)
    }
    return PointList(path.name, by_scan), list(_notes(path.name, table, own, scans))


def other_coordinates(volume: Volume, points_mm: NDArray[np.float64]) -> str:
    """What points, read as LPS, more probably are where most lie outside a scan, in words; empty where unknown.

    Parameters
    ----------
    volume : Volume
    points_mm : ndarray, (n, 3)
        World RAS.
    """
    given = points_mm * LPS
    readings = {"RAS": world_to_voxel(volume.affine, given), "voxel indices": given}
    inside = {name: _inside(volume, voxels) for name, voxels in readings.items()}
    best = max(inside, key=lambda name: inside[name])
    return f" As {best} {inside[best]:,} lie inside." if 2 * inside[best] > len(points_mm) else ""


def _inside(volume: Volume, voxels: NDArray[np.float64]) -> int:
    return int(((voxels >= -0.5) & (voxels < np.array(volume.shape) - 0.5)).all(axis=1).sum())


def _notes(name: str, table: pa.Table, own: pa.Table, scans: Sequence[str]) -> Iterator[str]:
    """What list and scans do not have in common, and points that are there twice."""
    listed = set(_series(table))
    without = [scan for scan in scans if scan not in listed]
    if without:
        yield f"{name} names no point of {len(without):,} of {len(scans):,} scans: {_some(without)}"
    absent = sorted(listed - set(scans))
    if absent:
        yield f"{len(absent):,} series of {name} are none of these scans: {_some(absent)}"
    repeated = own.num_rows - own.group_by([SERIES, *COORDINATES]).aggregate([]).num_rows
    if repeated:
        yield f"{repeated:,} rows of {name} repeat a point: each is classified"


def _series(table: pa.Table) -> list[str]:
    return [str(name) for name in pc.unique(table[SERIES]).to_pylist() if name is not None]


def _named(noun: str, names: Sequence[str]) -> str:
    return f"the {noun} '{names[0]}'" if len(names) == 1 else f"the {len(names):,} {noun}s"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:NAMED]) + (" …" if len(names) > NAMED else "")
