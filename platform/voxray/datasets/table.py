"""A CSV manifest ``path,label[,patient_id,split]`` of 2D or 3D images: each image is one sample."""

from collections import Counter

import pyarrow as pa

from voxray.config.validation import shown
from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import given_splits, label_codes, read_csv, scan_path, without_empty_cells
from voxray.datasets.manifest import Manifest, Row, quarantine_rows, scans_table, whole_scan_samples
from voxray.errors import DataError
from voxray.storage.paths import AnyPath

MANIFEST = "manifest.csv"


def read_table(
    root: AnyPath,
    manifest: str = MANIFEST,
    classes: tuple[str, ...] | None = None,
    channels: tuple[str, ...] = ("path",),
) -> Manifest:
    """List the images of a CSV manifest; reads no voxel.

    Parameters
    ----------
    root : path
        Folder that holds the manifest; its paths are relative to it.
    manifest : str
        File name of the CSV.
    classes : tuple of str, optional
        Names of the classes in the order of their labels. The column may hold these names or the numbers 0, 1, ….
    channels : tuple of str
        The columns that name the files of a scan's channels; all must lie on one grid.

    Raises
    ------
    DataError
        A missing column, an unknown label or split, the same path twice, a path outside of the folder.
    """
    path = root / manifest
    table = read_csv(path, (*channels, "label"), text=(*channels, "label", "patient_id", "split"))
    table = without_empty_cells(table, path, channels)
    labels, names = label_codes(table["label"], classes, path)
    paths = [_joined(files, path) for files in zip(*(table[name].to_pylist() for name in channels), strict=True)]
    repeated = [name for name, count in Counter(paths).items() if count > 1]
    if repeated:
        raise DataError(str(path), f"names '{repeated[0]}' more than once", "Keep one row for each image")
    has_patients = "patient_id" in table.column_names
    columns = {
        "scan_id": paths,
        "path": paths,
        "patient_id": table["patient_id"].to_pylist() if has_patients else paths,
        "split": given_splits(table, path),
        "row": range(len(paths)),
        "label": labels,
    }
    rows: list[Row] = pa.table(columns).to_pylist()
    note = "the manifest has no column patient_id: each row counts as a patient of its own"
    return Manifest(
        root=root,
        classes=names,
        scans=scans_table(rows),
        samples=whole_scan_samples(rows),
        quarantine=quarantine_rows([]),
        notes=() if has_patients else (note,),
        channels=channels if len(channels) > 1 else (),
    )


def _joined(files: tuple[str, ...], manifest: AnyPath) -> str:
    """One path for the files of a scan's channels, as `voxray.scans.formats.channels` reads it."""
    paths = [scan_path(file, str(manifest)) for file in files]
    if len(paths) == 1:
        return paths[0]
    if odd := next((path for path in paths if set(path) & set("{,}")), None):
        problem = f"files of several channels cannot have commas or braces in their names, got {shown(odd)}"
        raise DataError(str(manifest), problem, "Rename the file")
    return "{" + ",".join(paths) + "}"


TABLE = Layout(
    "table",
    read_table,
    ("manifest", "classes", "channels"),
    ("picture_window",),
    recognize=lambda root: (root / MANIFEST).is_file(),
)
