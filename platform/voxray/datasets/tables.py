"""CSV lists that come with data sets: read whole, checked by column."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv

from voxray.config.checking import nearest
from voxray.errors import DataError


def read_csv(path: Path, required: Sequence[str], text: Sequence[str] = ()) -> pa.Table:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path : Path
    required : sequence of str
        Columns that must be there.
    text : sequence of str
        Columns to read as strings whatever they look like (identifiers such as ``0012``).

    Raises
    ------
    DataError
        Missing or unreadable file, missing columns, no rows.
    """
    types = dict.fromkeys(text, pa.string())
    options = csv.ConvertOptions(column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=True)
    try:
        table = csv.read_csv(path, convert_options=options)
    except FileNotFoundError:
        raise DataError(str(path), "no such file", "The layout needs this list; check data.root") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(str(path), f"not readable as CSV: {error}", "Correct the file") from None
    twice = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if twice is not None:
        raise DataError(str(path), f"has the column '{twice}' more than once", "Keep one of them")
    for column in required:
        if column not in table.column_names:
            hint = nearest(column, table.column_names)
            raise DataError(str(path), f"has no column '{column}' ({hint})", "Add or rename the column")
    if table.num_rows == 0:
        raise DataError(str(path), "has no rows", "Give it at least one sample")
    return table
