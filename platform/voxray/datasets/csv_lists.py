"""CSV lists that come with data sets: read whole, checked by column."""

import csv
import posixpath
import re
from collections.abc import Sequence
from io import BytesIO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as arrow_csv

from voxray.config.validation import nearest, shown
from voxray.errors import DataError
from voxray.storage.csv_text import csv_header
from voxray.storage.paths import AnyPath, is_too_long, is_url, read_bytes, stays_below

LONGEST_REASON = 300
SPLITS = ("train", "val", "test")
NAMING = ("path", "series", "folder", "patient", "label", "patient_id", "split")


def read_csv(
    path: AnyPath,
    required: Sequence[str],
    text: Sequence[str] = (),
    numbers: Sequence[str] = (),
    *,
    may_be_empty: bool = False,
) -> pa.Table:
    """Read a CSV file with a header line, as spreadsheets of any country write it.

    Cells are separated by commas, semicolons or tabs. Blanks around names and texts do not count, and a cell of blanks
    is empty.

    Parameters
    ----------
    path : path
    required : sequence of str
        Columns that must be there.
    text : sequence of str
        Columns to read as strings whatever they look like (identifiers such as ``0012``).
    numbers : sequence of str
        Columns to read as float64.
    may_be_empty : bool
        Whether a header line alone is a list.

    Raises
    ------
    DataError
        Missing or unreadable file, no UTF-8, missing columns, cells that are no numbers, no rows.
    """
    content = _read_text(path)
    try:
        names, delimiter = csv_header(content)
    except csv.Error as error:
        raise DataError(str(path), f"its header line is not readable as CSV: {error}", "Correct the file") from None
    check_columns(path, names, required)
    types = {**dict.fromkeys(text, pa.string()), **dict.fromkeys(numbers, pa.float64())}
    try:
        table = arrow_csv.read_csv(
            BytesIO(f"{content}\n".encode()),
            read_options=arrow_csv.ReadOptions(column_names=names, skip_rows=1),
            parse_options=arrow_csv.ParseOptions(delimiter=delimiter),
            convert_options=arrow_csv.ConvertOptions(
                column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=True
            ),
        )
    except pa.ArrowException as error:
        reason = str(error).partition("\n")[0][:LONGEST_REASON]
        problem = _not_numbers(reason, names, numbers) or f"not readable as CSV: {reason}"
        raise DataError(str(path), problem, "Correct the file") from None
    if table.num_rows == 0 and not may_be_empty:
        raise DataError(str(path), "has no rows", "Give it at least one sample")
    for number, name in enumerate(names):
        if table[name].type == pa.string():
            cells = pc.utf8_trim_whitespace(table[name])
            table = table.set_column(number, name, pc.if_else(pc.equal(cells, ""), None, cells))
    return table


def read_names(path: AnyPath, column: str) -> list[str]:
    """The different names of a column, in their order; without a header line that names it, those of the first column.

    Raises
    ------
    DataError
        Missing or unreadable file, no UTF-8, no names.
    """
    content = _read_text(path)
    try:
        _, delimiter = csv_header(content)
        rows = [[cell.strip() for cell in row] for row in csv.reader(content.splitlines(), delimiter=delimiter) if row]
    except csv.Error as error:
        raise DataError(str(path), f"not readable as CSV: {error}", "Correct the file") from None
    position = rows[0].index(column) if rows and column in rows[0] else None
    cells = [row[0] for row in rows] if position is None else [row[position] for row in rows[1:] if position < len(row)]
    names = list(dict.fromkeys(filter(None, cells)))
    if not names:
        raise DataError(str(path), "has no rows", f"Give it a line for each {column}")
    return names


def _read_text(path: AnyPath) -> str:
    try:
        content = read_bytes(path).decode("utf-8-sig").lstrip("\r\n")
    except FileNotFoundError:
        raise DataError(str(path), "no such file", "Check the path") from None
    except UnicodeDecodeError as error:
        problem = f"is no UTF-8 text: byte {error.object[error.start]:#04x} at position {error.start:,}"
        raise DataError(str(path), problem, "Save it as CSV in UTF-8") from None
    except OSError as error:
        raise DataError(str(path), f"cannot be read: {error.strerror}", "Check the path") from None
    if "\0" in content:
        raise DataError(str(path), "holds null characters", "Save it as CSV in UTF-8")
    return content


def check_columns(path: AnyPath, names: Sequence[str], required: Sequence[str]) -> None:
    """Raise DataError where a column is missing, with the nearest name, or stands twice."""
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise DataError(str(path), f"has the column '{repeated:.80}' more than once", "Keep one of them")
    for column in required:
        if column not in names:
            hint = nearest(column, [name[:80] for name in names])
            raise DataError(str(path), f"has no column '{column}' ({hint})", "Add or rename the column")


def _not_numbers(reason: str, names: Sequence[str], numbers: Sequence[str]) -> str:
    """The problem of a column that holds other things than numbers, as Arrow counts it; empty for another reason."""
    found = re.search(r"In CSV column #(\d+)", reason)
    name = names[int(found[1])] if found and int(found[1]) < len(names) else ""
    return f"column '{name}': expected numbers: {reason}" if name in numbers else ""


def without_empty_cells(table: pa.Table, path: AnyPath, more: Sequence[str] = ()) -> pa.Table:
    """The same table; DataError where a cell of a column that names or labels, or of `more` columns, is empty."""
    for column in dict.fromkeys((*NAMING, *more)):
        if column in table.column_names and table[column].null_count:
            row = pc.index(pc.is_null(table[column]), True).as_py()
            raise DataError(str(path), f"column '{column}' is empty in line {row + 2}", "Fill it or remove the line")
    return table


def scan_path(text: str, where: str) -> str:
    """A path that a list names, in one spelling: ``a.nii`` for ``./a.nii``, ``x/../a.nii`` and so on.

    Raises
    ------
    DataError
        It leads out of the data set's folder.
    """
    path = posixpath.normpath(text)
    if path == "." or is_url(text) or not stays_below(path):
        raise DataError(where, f"expected a path inside data.root, got {shown(text)}", "Give one relative to it")
    if is_too_long(path):
        raise DataError(where, f"expected the name of a file, got {len(path):,} characters", "Correct the path")
    return path


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
