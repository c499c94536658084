"""CSV lists that come with data sets: read whole, checked by column."""

from collections.abc import Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv

from voxray.config.validation import nearest
from voxray.errors import DataError
from voxray.storage.paths import AnyPath, as_file

SPLITS = ("train", "val", "test")
NAMING = ("path", "series", "folder", "patient", "label", "patient_id", "split")


def read_csv(path: AnyPath, required: Sequence[str], text: Sequence[str] = ()) -> pa.Table:
    """Read a CSV file with a header line.

    Parameters
    ----------
    path : path
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
        table = csv.read_csv(as_file(path), convert_options=options)
    except FileNotFoundError:
        raise DataError(str(path), "no such file", "The layout needs this list; check data.root") from None
    except (pa.ArrowInvalid, OSError) as error:
        raise DataError(str(path), f"not readable as CSV: {error}", "Correct the file") from None
    repeated = next((name for name in table.column_names if table.column_names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(str(path), f"has the column '{repeated}' more than once", "Keep one of them")
    for column in required:
        if column not in table.column_names:
            hint = nearest(column, table.column_names)
            raise DataError(str(path), f"has no column '{column}' ({hint})", "Add or rename the column")
    if table.num_rows == 0:
        raise DataError(str(path), "has no rows", "Give it at least one sample")
    return table


def without_empty_cells(table: pa.Table, path: AnyPath, more: Sequence[str] = ()) -> pa.Table:
    """The same table; DataError where a cell of a column that names or labels, or of `more` columns, is empty."""
    for column in dict.fromkeys((*NAMING, *more)):
        if column in table.column_names and table[column].null_count:
            row = pc.index(pc.is_null(table[column]), True).as_py()
            raise DataError(str(path), f"column '{column}' is empty in line {row + 2}", "Fill it or remove the line")
    return table


def label_codes(
    column: pa.ChunkedArray, classes: tuple[str, ...] | None, path: AnyPath
) -> tuple[list[int], tuple[str, ...]]:
    """The number of each row's class, and the names of the classes; DataError for an unknown class, or one class only.

    The column holds names of classes, or their numbers where `classes` are given; by default the classes are the
    different words, sorted.
    """
    words = column.to_pylist()
    distinct = sorted(set(words))
    are_numbers = all(word.isdecimal() for word in distinct)
    names = tuple(sorted(distinct, key=int if are_numbers else str)) if classes is None else classes
    codes = {name: code for code, name in enumerate(names)}
    if are_numbers:
        codes = {str(code): code for code in range(len(names))} | codes
    if unknown := set(words) - codes.keys():
        word = min(unknown)
        raise DataError(str(path), f"label '{word}' is no class; {nearest(word, codes)}", "See data.classes")
    if len(names) < 2:
        raise DataError(str(path), f"has one class only: {names[0]!r}", "A classifier needs two or more")
    return [codes[word] for word in words], names


def given_splits(table: pa.Table, path: AnyPath) -> list[str | None]:
    """The column ``split``; None for each row where there is none. DataError for an unknown word in it."""
    if "split" not in table.column_names:
        return [None] * table.num_rows
    splits: list[str | None] = table["split"].to_pylist()
    if unknown := set(splits).difference(SPLITS):
        word = min(map(str, unknown))
        raise DataError(str(path), f"unknown split '{word}'; {nearest(word, SPLITS)}", "Correct the column split")
    return splits
