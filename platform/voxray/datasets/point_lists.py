"""Lists of points in the format of LUNA16: annotations, excluded annotations, and candidates with probabilities."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.csv_lists import read_csv, read_names, without_empty_cells
from voxray.errors import DataError
from voxray.metrics.curves import Floats, Ints
from voxray.storage.paths import AnyPath

SERIES = "seriesuid"
COORDINATES = ("coordX", "coordY", "coordZ")
_POINT = [("scan_id", pa.string()), ("x_mm", pa.float64()), ("y_mm", pa.float64()), ("z_mm", pa.float64())]  # RAS
ANNOTATIONS = pa.schema([*_POINT, ("diameter_mm", pa.float64())])
CANDIDATES = pa.schema([*_POINT, ("probability", pa.float64())])


def read_annotations(path: AnyPath) -> pa.Table:
    """The nodules of ``annotations.csv``, or the excluded findings of ``annotations_excluded.csv``.

    Returns
    -------
    pyarrow.Table
        With the schema ANNOTATIONS: centers in world millimeters, RAS; a diameter below 0 is not known.

    Raises
    ------
    DataError
        As `read_csv`; a series, coordinate or diameter that is empty or not finite. A list without rows is none.
    """
    return _read_points(path, ANNOTATIONS)


def read_candidates(path: AnyPath) -> pa.Table:
    """A list of candidates with probabilities, in the format of a submission to LUNA16; other columns do not count.

    Returns
    -------
    pyarrow.Table
        With the schema CANDIDATES: points in world millimeters, RAS. The probability is null where the cell is empty
        or NaN, as ``voxray predict`` leaves it for a point outside the scan.

    Raises
    ------
    DataError
        As `read_csv`; a series or coordinate that is empty or not finite, or an infinite probability. A list without
        rows is none.
    """
    return _read_points(path, CANDIDATES, may_lack_value=True)


def read_series(path: AnyPath) -> list[str]:
    """The series of ``seriesuids.csv``, each once; the challenge's file has no header line."""
    return read_names(path, SERIES)


def number_points(table: pa.Table, scans: pa.Array | pa.ChunkedArray) -> tuple[Ints, Floats, Floats]:
    """Number of the scan in `scans` (n,), point (n, 3) and last column (n,) of those rows whose scan is there."""
    numbers = pc.index_in(table["scan_id"], value_set=scans)
    known = table.filter(pc.is_valid(numbers))
    columns = [np.asarray(known[name].to_numpy(), np.float64) for name in known.column_names[1:]]
    return np.asarray(pc.drop_null(numbers).to_numpy(), np.int64), np.column_stack(columns[:3]), columns[3]


def _read_points(path: AnyPath, schema: pa.Schema, *, may_lack_value: bool = False) -> pa.Table:
    numbers = (*COORDINATES, schema.names[-1])
    table = read_csv(path, (SERIES, *numbers), text=(SERIES,), numbers=numbers, may_be_empty=True)
    table = without_empty_cells(table, path, (SERIES,))
    _check_finite(table, path, COORDINATES)
    _check_finite(table, path, schema.names[-1:], may_be_empty=may_lack_value)
    x, y, z, value = (table[name].combine_chunks() for name in numbers)
    # LPS to RAS: the first two axes change sign.
    columns = [table[SERIES].combine_chunks(), pc.negate(x), pc.negate(y), z, value]
    return pa.table(dict(zip(schema.names, columns, strict=True)), schema=schema)


def _check_finite(table: pa.Table, path: AnyPath, columns: Sequence[str], *, may_be_empty: bool = False) -> None:
    for column in columns:
        values = np.asarray(table[column].to_numpy(), np.float64)
        given = np.asarray(pc.is_valid(table[column]).to_numpy(), bool)
        odd = np.flatnonzero(~np.isfinite(values) & (given | (not may_be_empty)))
        if len(odd):
            problem = f"column '{column}': expected a number, got {values[odd[0]]} in line {odd[0] + 2}"
            raise DataError(str(path), problem, "Correct or remove the line")
