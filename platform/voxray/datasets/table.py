"""A CSV manifest ``path,label[,patient_id,split]`` of 2D or 3D images: each image is one sample."""

from collections import Counter

import numpy as np
import pyarrow as pa

from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.datasets.tables import given_splits, label_codes, read_csv, without_empty_cells
from voxray.errors import DataError
from voxray.storage.paths import AnyPath


def read_table(
    root: AnyPath,
    manifest: str = "manifest.csv",
    classes: tuple[str, ...] | None = None,
    channels: tuple[str, ...] = ("path",),
) -> Manifest:
    """List the images of a CSV manifest; reads no voxel.

    Parameters
    ----------
    root : Place
        Folder that holds the manifest; its paths are relative to it.
    manifest : str
        File name of the CSV.
    classes : tuple of str, optional
        Names of the classes in the order of their labels. The column may hold these names or the numbers 0, 1, ….
    channels : tuple of str
        The columns that name the files of a scan's channels; all lie on one grid.

    Raises
    ------
    DataError
        A missing column, an unknown label or split, the same path twice.
    """
    path = root / manifest
    table = read_csv(path, (*channels, "label"), text=(*channels, "label", "patient_id", "split"))
    table = without_empty_cells(table, path, channels)
    labels, names = label_codes(table["label"], classes, path)
    ids = [_joined(files) for files in zip(*(table[name].to_pylist() for name in channels), strict=True)]
    twice = [value for value, count in Counter(ids).items() if count > 1]
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
        channels=channels if len(channels) > 1 else (),
    )


def _joined(files: tuple[str, ...]) -> str:
    """One path for the files of a scan's channels, as `voxray.scans.formats.channels` reads it."""
    return files[0] if len(files) == 1 else "{" + ",".join(files) + "}"
