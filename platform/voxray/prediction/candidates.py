"""A list of points in a scan that are to be classified."""

import numpy as np
import pyarrow.compute as pc

from voxray.datasets.csv_lists import read_csv
from voxray.datasets.point_lists import COORDINATES, SERIES
from voxray.errors import DataError
from voxray.inference.detector import Candidates
from voxray.storage.paths import AnyPath


def read_points(path: AnyPath, series: str) -> Candidates:
    """The points of a scan in a list ``seriesuid,coordX,coordY,coordZ[,diameter_mm]``, world millimeters, LPS.

    Parameters
    ----------
    path : path
        A CSV file.
    series : str
        The scan's name in the column ``seriesuid``.

    Raises
    ------
    DataError
        Missing or unreadable file, a missing column, a coordinate that is no number, or no point of this scan.
    """
    table = read_csv(path, (SERIES, *COORDINATES), text=(SERIES,), numbers=(*COORDINATES, "diameter_mm"))
    own = table.filter(pc.equal(table[SERIES], series))
    if not own.num_rows:
        names = ", ".join(str(name) for name in pc.unique(table[SERIES])[:3].to_pylist())
        problem = f"holds no candidate of the scan '{series}'; its series are {names} …"
        raise DataError(str(path), problem, "The scan's file must be named as its series is")
    lps = np.stack([np.asarray(own[axis].to_numpy(), np.float64) for axis in COORDINATES], axis=1)
    if not np.isfinite(lps).all():
        raise DataError(str(path), f"a coordinate of '{series}' is no number", "Correct these rows")
    known = "diameter_mm" in own.column_names
    diameters = np.asarray(own["diameter_mm"].to_numpy(), np.float64) if known else np.full(len(lps), np.nan)
    return Candidates(lps * (-1, -1, 1), np.where(diameters > 0, diameters, np.nan))
