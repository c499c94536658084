"""A CSV manifest ``path,label[,patient_id,split]`` of 2D or 3D images: each image is one sample."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.datasets.tables import given_splits, label_codes, read_csv, without_empty_cells
from voxray.errors import DataError


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
    table = without_empty_cells(table, path)
    labels, names = label_codes(table["label"], classes, path)
    ids = table["path"].to_pylist()
    twice = [value for value, count in _counts(table["path"]) if count > 1]
    if twice:
        raise DataError(str(path), f"names '{twice[0]}' more than once", "Keep one row for each image")
    has_patients = "patient_id" in table.column_names
    patients = table["patient_id"].to_pylist() if has_patients else ids
    splits = given_splits(table, path)
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


def _counts(column: pa.ChunkedArray) -> list[tuple[str, int]]:
    return [(entry["values"], entry["counts"]) for entry in pc.value_counts(column).to_pylist()]
