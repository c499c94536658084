"""Folders of DICOM series, and a CSV of labels: ``series``, ``folder`` or ``patient``, then ``label[,split]``.

Header fields serve to group files into series and series into patients, and go no further: a scan is known by its
place on disk, a patient by the first of its scans.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pyarrow as pa

from voxray.config.validation import nearest
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.datasets.tables import given_splits, label_codes, read_csv, without_empty_cells
from voxray.errors import DataError
from voxray.scans.formats.dicom.headers import DicomFolder, read_folder
from voxray.storage.paths import AnyPath, relative_path

KEYS = ("series", "folder", "patient")  # the first of these columns says what a label belongs to
Row = dict[str, object]


@dataclass(frozen=True)
class FoundSeries:
    """A series on disk.

    Attributes
    ----------
    path : str
        Relative to the root: its folder, or its first file where the folder holds several series.
    folder : str
    series, patient : str
        As the header names them: to group by only.
    aside : str
        Why it is no scan; empty for one that is.
    """

    path: str
    folder: str
    series: str
    patient: str
    aside: str


@dataclass(frozen=True)
class LabelList:
    """The CSV: each value of the key column and its line, and the columns that follow from it."""

    name: str
    key: str
    rows: dict[str, int]
    labels: list[int]
    classes: tuple[str, ...]
    splits: list[str | None]
    patients: list[str] | None

    def row_of(self, found: FoundSeries) -> int | None:
        """The row that labels a series; a folder's label holds for all folders in it that have none themselves."""
        if self.key == "series":
            return self.rows.get(found.series)
        if self.key == "patient":
            return self.rows.get(found.patient)
        folders = [PurePosixPath(found.folder), *PurePosixPath(found.folder).parents]
        return next((self.rows[str(each)] for each in folders if str(each) in self.rows), None)


def read_dicom(
    root: AnyPath, labels: str = "labels.csv", classes: tuple[str, ...] | None = None, *, with_patients: bool = False
) -> Manifest:
    """List the DICOM series in a folder and below; reads headers, and no pixel.

    Each labeled series is a scan and one sample, cut around its middle.

    Parameters
    ----------
    root : Place
    labels : str
        File name of the CSV in `root`. A column ``patient`` beside ``series`` or ``folder`` says whose scans they are
        where the headers do not.
    classes : tuple of str, optional
        Names of the classes in the order of their labels.
    with_patients : bool
        Whether the manifest names patients as headers and list do: only for a caller that hides them.

    Raises
    ------
    DataError
        No series, or a list that lacks a column, names something twice or gives an unknown label.
    """
    listed = _read_labels(root / labels, classes)
    found, aside, others = find_series(root)
    if not found and not aside:
        raise DataError(str(root), "holds no DICOM series", "Set data.root to a folder with DICOM files below it")
    rows = [listed.row_of(each) for each in found]
    known = [(each, row) for each, row in zip(found, rows, strict=True) if row is not None]
    aside += [
        _aside(each.path, f"{labels} gives it no label") for each, row in zip(found, rows, strict=True) if row is None
    ]
    ids = [each.path for each, _ in known]
    mine = [row for _, row in known]
    nothing = [None] * len(ids)
    scans = [ids, _patients(known, listed, with_patients), ids, [listed.splits[row] for row in mine], nothing]
    samples = [ids, mine, nothing, nothing, nothing, [listed.labels[row] for row in mine]]
    return Manifest(
        root=root,
        classes=listed.classes,
        scans=pa.table(dict(zip(SCANS.names, scans, strict=True)), schema=SCANS),
        samples=pa.table(dict(zip(SAMPLES.names, samples, strict=True)), schema=SAMPLES),
        quarantine=quarantine_rows(aside + _absent(listed, mine)),
        notes=_notes(known, listed, others - (root / labels).is_file()),
        channels=("intensity",),
    )


def _read_labels(path: AnyPath, classes: tuple[str, ...] | None) -> LabelList:
    table = without_empty_cells(read_csv(path, ("label",), text=(*KEYS, "label", "split")), path)
    key = next((column for column in KEYS if column in table.column_names), None)
    if key is None:
        hint = nearest(table.column_names[0], KEYS)
        raise DataError(str(path), f"has no column that says what is labeled ({hint})", "Add one of them")
    words = table[key].to_pylist()
    values = [str(PurePosixPath(word.replace("\\", "/"))) for word in words] if key == "folder" else words
    rows = {value: row for row, value in reversed(list(enumerate(values)))}
    if len(rows) < len(values):
        again = next(row for row, value in enumerate(values) if rows[value] != row)
        problem = f"names the same {key} in the lines {rows[values[again]] + 2} and {again + 2}"
        raise DataError(str(path), problem, "Keep one of them")
    codes, names = label_codes(table["label"], classes, path)
    patients = table["patient"].to_pylist() if key != "patient" and "patient" in table.column_names else None
    return LabelList(path.name, key, rows, codes, names, given_splits(table, path), patients)


def find_series(root: AnyPath) -> tuple[list[FoundSeries], list[Row], int]:
    """Series below a folder that are scans, quarantine rows for what is none, and the number of other files."""
    found: list[FoundSeries] = []
    aside: list[Row] = []
    others = 0
    for place in _folders(root):
        folder = read_folder(place)
        others += folder.others
        here = _series_of(folder, root, place)
        found += [each for each in here if not each.aside]
        aside += [_aside(each.path, f"is {each.aside}, no scan") for each in here if each.aside]
        if all(each.aside for each in here):
            broken = [relative_path(root, path) for path in folder.broken]
            aside += [_aside(path, "cannot be read; fetch the file again") for path in broken]
    folders_of = Counter(each.series for each in found)
    spread = [each for each in found if folders_of[each.series] > 1]
    aside += [
        _aside(each.path, f"its series lies in {folders_of[each.series]} folders; put it into one", samples=1)
        for each in spread
    ]
    return [each for each in found if folders_of[each.series] == 1], aside, others


def _folders(folder: AnyPath) -> Iterator[AnyPath]:
    """A folder and all below it, in the order of their names; none whose name begins with a dot."""
    for inner, names, _ in os.walk(folder) if isinstance(folder, Path) else folder.walk():
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield Path(inner) if isinstance(inner, str) else inner


def _series_of(folder: DicomFolder, root: AnyPath, place: AnyPath) -> list[FoundSeries]:
    """The series of one folder."""
    name = relative_path(root, place)
    scans = {file.series for file in folder.slices}
    found = []
    for series in dict.fromkeys(file.series for file in folder.files):
        files = [file for file in folder.files if file.series == series]
        slices = [file for file in files if not file.aside]
        # Captures beside the slices of a scan are left out when it is opened.
        first = (slices or files)[0]
        alone = scans == {series} and place != root
        path = name if alone else relative_path(root, first.path)
        why = "" if slices else " and ".join(sorted({file.aside for file in files}))
        found.append(FoundSeries(path, name, series, first.patient, why))
    return found


def _patients(known: Sequence[tuple[FoundSeries, int]], listed: LabelList, with_patients: bool) -> list[str]:
    """For each series its patient, or the path of that patient's first one."""
    first: dict[str, str] = {}
    names = []
    for each, row in known:
        patient = each.patient if listed.patients is None else listed.patients[row]
        name = patient if with_patients else first.setdefault(patient, each.path)
        names.append(name if patient else each.path)
    return names


def _aside(path: str, reason: str, samples: int = 0) -> Row:
    return {"scan_id": path, "path": path, "kind": "scan", "samples": samples, "reason": f"{path}: {reason}"}


def _absent(listed: LabelList, used: Sequence[int]) -> list[Row]:
    unused = sorted(set(listed.rows.values()) - set(used))
    return [
        {
            "scan_id": f"{listed.name}, line {row + 2}",
            "path": None,
            "row": row,
            "kind": "absent",
            "samples": 1,
            "reason": f"{listed.name}, line {row + 2}: no scan on disk belongs to this {listed.key}",
        }
        for row in unused
    ]


def _notes(known: Sequence[tuple[FoundSeries, int]], listed: LabelList, others: int) -> tuple[str, ...]:
    notes = []
    several = sum(count > 1 for count in Counter(row for _, row in known).values())
    if several:
        each = f"{several} of them name several series, and each series is a scan of its own with that label"
        notes.append(f"{listed.name} labels by {listed.key}: {each}")
    nameless = sum(not each.patient for each, _ in known) if listed.patients is None else 0
    if nameless:
        notes.append(f"{nameless} series name no patient: each counts as a patient of its own")
    if others:
        notes.append(f"{others} files are no DICOM files and are not read")
    return tuple(notes)
