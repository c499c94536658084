"""A CSV that lists scans, with headers of any program: columns of files by what they hold, others by their names."""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

import pyarrow as pa

from voxray.config.validation import shown
from voxray.datasets.csv_lists import read_csv
from voxray.errors import DataError
from voxray.planning.found import CHANNEL, Case, Found, LeftOver
from voxray.planning.names import MASK_WORDS, SPLIT_WORDS
from voxray.scans.formats.registry import known_suffixes, split_suffix
from voxray.storage.paths import AnyPath, matching

SUFFIXES = (".csv", ".tsv")
LABELS = ("label", "class", "target", "diagnosis", "category", "grade", "outcome", "finding", "y", "dx", "labels")
PATIENTS = ("patient_id", "patient", "patientid", "subject", "subject_id", "participant_id", "pid", "case_id", "case")
SPLITS = ("split", "set", "subset", "partition", "dataset", "phase")
TEXT = (*LABELS, *PATIENTS, *SPLITS)
ROWS_TO_CHECK = 20  # of a column, before it counts as one of files
MOST_CLASSES = 100

Index = Mapping[str, str | None]  # path by name, with and without suffix; None where several files have it


def find_list(path: AnyPath, paths: Sequence[str]) -> Found | None:
    """The cases of a CSV; None where no column of it names files of the folder.

    Parameters
    ----------
    path : path
        The CSV.
    paths : sequence of str
        Scans below the root.

    Raises
    ------
    DataError
        Neither masks nor classes are listed, or there are too many classes.
    """
    header = read_csv(path, ())
    table = read_csv(path, (), text=header.column_names)
    index = _index(paths)
    columns = {name: table[name].to_pylist() for name in table.column_names}
    of_files = [name for name, cells in columns.items() if _names_files(cells, index)]
    if not of_files:
        return None
    masks = [name for name in of_files if len(of_files) > 1 and _is_mask(name)]
    images = [name for name in of_files if name not in masks]
    label = _column(columns, LABELS, of_files)
    if not images:
        problem = f"expected columns of images and of masks, got {shown(of_files)}"
        raise DataError(str(path), problem, "Name them path and mask")
    if not masks and label is None:
        problem = f"has neither a column of masks nor one of classes, got the columns {shown(list(columns))}"
        raise DataError(str(path), problem, "Name them path, and mask or label")
    return _found(path, table, images, masks, label, index)


def _found(
    path: AnyPath, table: pa.Table, images: list[str], masks: list[str], label: str | None, index: Index
) -> Found:
    patient, split = (_column(table.column_names, names, [*images, label or ""]) for names in (PATIENTS, SPLITS))
    cases, left_over = [], []
    for number, row in enumerate(table.to_pylist()):
        where = f"{path.name}, line {number + 2}"
        files = {_channel(name, images): _file(row[name], index) for name in images}
        paths = {_class(name): file for name in masks if (file := _file(row[name], index)) is not None}
        if reason := _why_unused(row, images, masks, label, index):
            left_over.append(LeftOver(where, reason))
            continue
        cases.append(
            Case(
                name=where,
                files={name: file for name, file in files.items() if file is not None},
                mask=next(iter(paths.values()), None) if len(masks) == 1 else None,
                class_masks=paths if len(masks) > 1 else {},
                label=None if label is None else row[label],
                patient=None if patient is None else row[patient],
                split=None if split is None else SPLIT_WORDS.get(str(row[split]).lower()),
            )
        )
    _check_classes(cases, label, path)
    words = {"mask": ", ".join(masks), "label": label, "patient": patient, "split": split}
    notes = [f"scans are in the column {', '.join(images)}"]
    notes += [f"the {what} is in the column {name}" for what, name in words.items() if name]
    return Found(f"the list {path.name}", tuple(cases), tuple(left_over), ("; ".join(notes),))


def _why_unused(
    row: Mapping[str, str | None], images: list[str], masks: list[str], label: str | None, index: Index
) -> str:
    """Why a row cannot be used; empty for one that can."""
    missing = next((name for name in images if _file(row[name], index) is None), None)
    if missing is not None:
        return f"no file is called {shown(row[missing])}" if row[missing] else f"column '{missing}' is empty"
    if label is not None:
        return "" if row[label] else f"column '{label}' is empty"
    unknown = next((row[name] for name in masks if row[name] and _file(row[name], index) is None), None)
    if unknown is not None:
        return f"no mask is called {shown(unknown)}"
    return "has no mask" if masks and not any(row[name] for name in masks) else ""


def _check_classes(cases: Sequence[Case], label: str | None, path: AnyPath) -> None:
    classes = {case.label for case in cases}
    if label is not None and len(classes) > min(MOST_CLASSES, max(2, len(cases) // 2)):
        problem = f"column '{label}' has {len(classes)} different values in {len(cases)} rows, and is no class"
        raise DataError(str(path), problem, "Name the column of the classes label")


def _index(paths: Sequence[str]) -> Index:
    index: dict[str, str | None] = {}
    for path in paths:
        name = PurePosixPath(path).name
        for key in {name, split_suffix(name)[0], split_suffix(path)[0]}:
            index[key] = None if key in index and index[key] != path else path
    return {**index, **{path: path for path in paths}}


def _file(cell: str | None, index: Index) -> str | None:
    """The file that a cell names: by its path, or else by its name."""
    if not cell:
        return None
    text = cell.replace("\\", "/")
    if (found := index.get(text.removeprefix("./"))) is not None:
        return found
    return index.get(PurePosixPath(text).name)


def _names_files(cells: Sequence[str | None], index: Index) -> bool:
    filled = [cell for cell in cells if cell][:ROWS_TO_CHECK]
    found = [cell for cell in filled if _file(cell, index)]
    looks_so = all(cell.lower().endswith(known_suffixes()) for cell in filled)
    return bool(filled) and (2 * len(found) > len(filled) or looks_so)


def _is_mask(column: str) -> bool:
    words = column.lower().replace("-", "_").replace(" ", "_").split("_")
    return any(word in MASK_WORDS for word in words)


def _class(column: str) -> str:
    """The name of a column without the words that say mask."""
    words = column.lower().replace("-", "_").replace(" ", "_").split("_")
    return "_".join(word for word in words if word not in MASK_WORDS) or column


def _channel(column: str, images: list[str]) -> str:
    return CHANNEL if len(images) == 1 else column


def _column(columns: Sequence[str] | Mapping[str, object], names: Sequence[str], taken: Sequence[str]) -> str | None:
    """The first of some column names, whatever their case, that is there."""
    known = {column.lower().replace(" ", "_"): column for column in columns if column not in taken}
    return next((known[name] for name in names if name in known), None)


def lists_in(root: AnyPath) -> list[AnyPath]:
    """The CSV files directly in a folder."""
    return [path for path in matching(root, "*") if path.suffix.lower() in SUFFIXES and path.is_file()]
