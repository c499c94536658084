"""Folders of DICOM series, and a CSV of labels: ``series``, ``folder`` or ``patient``, then ``label[,split]``.

Header fields only group files into series and series into patients: a scan is named by its path, a patient by the
first of its scans.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from voxray.config.validation import nearest
from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import given_splits, label_codes, read_csv, without_empty_cells
from voxray.datasets.manifest import Manifest, Row, quarantine_row, quarantine_rows, scans_table, whole_scan_samples
from voxray.errors import DataError
from voxray.scans.formats.dicom import is_dicom
from voxray.scans.formats.dicom.folder import DicomFile, DicomFolder, read_folder
from voxray.storage.paths import AnyPath, relative_path

LABELS = "labels.csv"
KEYS = ("series", "folder", "patient")  # the first of these columns in the list says what a label belongs to
FILES_TO_CHECK = 100  # before a folder is taken for one without DICOM files


@dataclass(frozen=True)
class FoundSeries:
    """A series on disk.

    Attributes
    ----------
    path : str
        Relative to the root: its folder, or its first file where the folder holds several series.
    folder : str
    series, patient : str
        As the header names them: only for grouping.
    skipped : str
        Why it is no scan; empty for one that is.
    """

    path: str
    folder: str
    series: str
    patient: str
    skipped: str


@dataclass(frozen=True)
class LabelList:
    """The CSV: the row of each value of the key column, and the columns of the rows."""

    name: str
    key: str
    rows: dict[str, int]
    labels: list[int]
    classes: tuple[str, ...]
    splits: list[str | None]
    patients: list[str] | None

    def row_of(self, found: FoundSeries) -> int | None:
        """The row that labels a series; the label of a folder holds for all folders in it without a label."""
        if self.key == "series":
            return self.rows.get(found.series)
        if self.key == "patient":
            return self.rows.get(found.patient)
        folders = [PurePosixPath(found.folder), *PurePosixPath(found.folder).parents]
        return next((self.rows[str(folder)] for folder in folders if str(folder) in self.rows), None)


def read_dicom(
    root: AnyPath, labels: str = LABELS, classes: tuple[str, ...] | None = None, *, with_patients: bool = False
) -> Manifest:
    """List the DICOM series in a folder and below; reads headers, and no pixel.

    Each labeled series is a scan with one sample at its center.

    Parameters
    ----------
    root : path
    labels : str
        File name of the CSV in `root`. A column ``patient`` beside ``series`` or ``folder`` names the patients where
        the headers do not.
    classes : tuple of str, optional
        Names of the classes in the order of their labels.
    with_patients : bool
        Whether the manifest names patients as headers and list do: only for a caller that hides the names.

    Raises
    ------
    DataError
        No series, or a list that lacks a column, names something twice or has an unknown label.
    """
    listed = _read_labels(root / labels, classes)
    found, quarantine, others = find_series(root)
    if not found and not quarantine:
        raise DataError(str(root), "holds no DICOM series", "Set data.root to a folder with DICOM files below it")
    rows: list[Row] = []
    first: dict[str, str] = {}
    for series in found:
        row = listed.row_of(series)
        if row is None:
            quarantine.append(_row(series.path, f"{labels} has no label for it"))
            continue
        patient = series.patient if listed.patients is None else listed.patients[row]
        name = patient and (patient if with_patients else first.setdefault(patient, series.path))
        content = {"split": listed.splits[row], "row": row, "label": listed.labels[row]}
        rows.append({"scan_id": series.path, "path": series.path, "patient_id": name or series.path, **content})
    nameless = sum(not series.patient and listed.row_of(series) is not None for series in found)
    return Manifest(
        root=root,
        classes=listed.classes,
        scans=scans_table(rows),
        samples=whole_scan_samples(rows),
        quarantine=quarantine_rows(quarantine + _absent(listed, rows)),
        notes=_notes(rows, listed, nameless, others - (root / labels).is_file()),
        channels=("intensity",),
    )


def _read_labels(path: AnyPath, classes: tuple[str, ...] | None) -> LabelList:
    table = without_empty_cells(read_csv(path, ("label",), text=(*KEYS, "label", "split")), path)
    key = next((column for column in KEYS if column in table.column_names), None)
    if key is None:
        hint = nearest(table.column_names[0], KEYS)
        raise DataError(str(path), f"has no column that says what is labeled ({hint})", "Add one of them")
    values: list[str] = [value.strip() for value in table[key].to_pylist()]
    if key == "folder":
        values = [str(PurePosixPath(folder.replace("\\", "/"))) for folder in values]
    rows: dict[str, int] = {}
    for row, value in enumerate(values):
        if rows.setdefault(value, row) != row:
            problem = f"names the same {key} in the lines {rows[value] + 2} and {row + 2}"
            raise DataError(str(path), problem, "Keep one of them")
    codes, names = label_codes(table["label"], classes, path)
    patients = table["patient"].to_pylist() if key != "patient" and "patient" in table.column_names else None
    return LabelList(path.name, key, rows, codes, names, given_splits(table, path), patients)


def find_series(root: AnyPath) -> tuple[list[FoundSeries], list[Row], int]:
    """Series below a folder that are scans, quarantine rows for everything else, and the number of other files."""
    found: list[FoundSeries] = []
    quarantine: list[Row] = []
    others = 0
    for path in _folders(root):
        folder = read_folder(path)
        others += folder.others
        found += _series_of(folder, root, path)
        if not folder.slices:
            quarantine += [
                _row(relative_path(root, file), f"{reason}; fetch it again") for file, reason in folder.broken.items()
            ]
    counts = Counter(series.series for series in found if not series.skipped)
    scans = []
    for series in found:
        if series.skipped:
            quarantine.append(_row(series.path, f"is {series.skipped}, no scan"))
        elif counts[series.series] > 1:
            reason = f"its series is in {counts[series.series]} folders; move it into one"
            quarantine.append(_row(series.path, reason, samples=1))
        else:
            scans.append(series)
    return scans, quarantine, others


def _folders(folder: AnyPath) -> Iterator[AnyPath]:
    """A folder and all below it, in the order of their names, without those whose name begins with a dot."""

    def refuse(error: OSError) -> None:
        raise DataError(str(error.filename), f"cannot be listed: {error.strerror}", "Check its permissions")

    for path, names, _ in os.walk(folder, onerror=refuse) if isinstance(folder, Path) else folder.walk():
        names[:] = sorted(name for name in names if not name.startswith("."))
        yield Path(path) if isinstance(path, str) else path


def _series_of(folder: DicomFolder, root: AnyPath, path: AnyPath) -> list[FoundSeries]:
    """The series of one folder; the files of a series that are no slices are one of their own, for each reason."""
    name = relative_path(root, path)
    is_one_scan = len({file.series for file in folder.slices}) == 1 and path != root
    first_of: dict[tuple[str, str], DicomFile] = {}
    for file in folder.files:
        first_of.setdefault((file.series, file.skipped), file)
    return [
        FoundSeries(
            name if is_one_scan and not file.skipped else relative_path(root, file.path),
            name,
            file.series,
            file.patient,
            file.skipped,
        )
        for file in first_of.values()
    ]


def _row(path: str, reason: str, samples: int = 0) -> Row:
    return quarantine_row(path, path, f"{path}: {reason}", samples=samples)


def _absent(listed: LabelList, used: Sequence[Row]) -> list[Row]:
    rows = []
    for row in sorted(set(listed.rows.values()).difference(used_row["row"] for used_row in used)):
        where = f"{listed.name}, line {row + 2}"
        reason = f"{where}: no scan on disk belongs to this {listed.key}"
        rows.append(quarantine_row(where, None, reason, kind="absent", samples=1, row=row))
    return rows


def _notes(rows: Sequence[Row], listed: LabelList, nameless: int, others: int) -> tuple[str, ...]:
    notes = []
    several = sum(count > 1 for count in Counter(row["row"] for row in rows).values())
    if several:
        rest = f"{several} of them name several series, and each series is a scan of its own with that label"
        notes.append(f"{listed.name} labels by {listed.key}: {rest}")
    if nameless and listed.patients is None:
        notes.append(f"{nameless} series name no patient: each counts as a patient of its own")
    if others:
        notes.append(f"{others} files are not DICOM files and are not read")
    return tuple(notes)


def _has_dicom(root: AnyPath) -> bool:
    files = (path for path in root.rglob("*") if path.is_file())
    return (root / LABELS).is_file() and any(is_dicom(path) for path in islice(files, FILES_TO_CHECK))


DICOM = Layout("dicom", read_dicom, ("labels", "classes"), recognize=_has_dicom, names_patients=True)
