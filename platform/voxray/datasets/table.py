"""A CSV manifest ``path,label[,patient_id,split]`` of 2D or 3D images: each image is one sample."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.checking import nearest
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.datasets.tables import read_csv
from voxray.errors import DataError

SPLITS = ("train", "val", "test")


def read_table(root: Path, manifest: str = "manifest.csv", classes: tuple[str, ...] | None = None) -> Manifest:
    """List the images of a CSV manifest; reads no voxel.

    Parameters
    ----------
    root : Path
        Folder that holds the manifest; its paths are relative to it.
    manifest : str
        File name of the CSV.
    classes : tuple of str, optional
        Names of the classes in the order of their labels. The column may hold these names or the numbers 0, 1, ….

    Raises
    ------
    DataError
        A missing column, an unknown label or split, the same path twice.
    """
    path = root / manifest
    table = read_csv(path, ("path", "label"), text=("path", "label", "patient_id", "split"))
    table = _without_empty_cells(table, path)
    labels, names = _labels(table["label"], classes, path)
    ids = table["path"].to_pylist()
    twice = [value for value, count in _counts(table["path"]) if count > 1]
    if twice:
        raise DataError(str(path), f"names '{twice[0]}' more than once", "Keep one row for each image")
    has_patients = "patient_id" in table.column_names
    patients = table["patient_id"].to_pylist() if has_patients else ids
    splits = _splits(table, path)
    count = table.num_rows
    columns = [ids, patients, ids, splits, [None] * count]
    nothing = pa.nulls(count, pa.float64())
    samples = [ids, np.arange(count), nothing, nothing, nothing, labels]
    note = "the manifest has no column patient_id: each row counts as a patient of its own"
    return Manifest(
        root=root,
        classes=names,
        scans=pa.table(dict(zip(SCANS.names, columns, strict=True)), schema=SCANS),
        samples=pa.table(dict(zip(SAMPLES.names, samples, strict=True)), schema=SAMPLES),
        quarantine=quarantine_rows([]),
        notes=() if has_patients else (note,),
    )


def _without_empty_cells(table: pa.Table, path: Path) -> pa.Table:
    for column in ("path", "label", "patient_id", "split"):
        if column in table.column_names and table[column].null_count:
            row = pc.index(pc.is_null(table[column]), True).as_py()
            raise DataError(str(path), f"column '{column}' is empty in line {row + 2}", "Fill it or remove the line")
    return table


def _labels(column: pa.ChunkedArray, classes: tuple[str, ...] | None, path: Path) -> tuple[list[int], tuple[str, ...]]:
    words = column.to_pylist()
    found = sorted(set(words))
    numeric = all(word.isdecimal() for word in found)
    if classes is None:
        classes = tuple(sorted(found, key=int)) if numeric else tuple(found)
        numeric = False
    codes = {str(number): number for number in range(len(classes))} if numeric else {}
    codes |= {name: number for number, name in enumerate(classes)}
    unknown = [word for word in found if word not in codes]
    if unknown:
        raise DataError(
            str(path), f"label '{unknown[0]}' is no class; {nearest(unknown[0], codes)}", "See data.classes"
        )
    if len(classes) < 2:
        raise DataError(str(path), f"has one class only: {classes[0]!r}", "A classifier needs two or more")
    return [codes[word] for word in words], classes


def _splits(table: pa.Table, path: Path) -> list[str | None]:
    if "split" not in table.column_names:
        return [None] * table.num_rows
    splits: list[str] = table["split"].to_pylist()
    for word in sorted(set(splits)):
        if word not in SPLITS:
            raise DataError(str(path), f"unknown split '{word}'; {nearest(word, SPLITS)}", "Correct the column split")
    return list(splits)


def _counts(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    return [(entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist()]
