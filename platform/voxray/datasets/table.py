"""A CSV manifest ``path[,label][,mask][,patient_id][,split]`` of 2D or 3D images: each image is one sample."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa

from voxray.config.validation import shown
from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import (
    check_columns,
    given_splits,
    label_codes,
    read_csv,
    scan_path,
    without_empty_cells,
)
from voxray.datasets.manifest import Manifest, Row, quarantine_row, quarantine_rows, scans_table, whole_scan_samples
from voxray.errors import DataError
from voxray.storage.paths import AnyPath, is_url, to_path

MANIFEST = "manifest.csv"
LABEL, MASK = "label", "mask"  # columns
MASK_CLASSES = ("background", "foreground")


def read_table(
    root: AnyPath,
    manifest: str = MANIFEST,
    classes: tuple[str, ...] | None = None,
    channels: tuple[str, ...] = ("path",),
    mask_columns: tuple[str, ...] = (MASK,),
) -> Manifest:
    """List the images of a CSV manifest; reads no voxel.

    Parameters
    ----------
    root : path
        Folder that the paths in the manifest are relative to.
    manifest : str
        File name of the CSV in `root`, or an absolute path.
    classes : tuple of str, optional
        Names of the classes in the order of their labels. The column may hold these names or the numbers 0, 1, ….
        Where the classes are those of masks, names of the values 0, 1, …; by default those of `MASK_CLASSES`.
    channels : tuple of str
        The columns that name the files of a scan's channels; all must lie on one grid.
    mask_columns : tuple of str
        The column that names the masks, or those of a file for each of the classes 1, 2, …

    Raises
    ------
    DataError
        A missing column, an unknown label or split, the same path twice, a path outside of the folder.
    """
    path = _manifest_path(root, manifest)
    text = (*channels, LABEL, *mask_columns, "patient_id", "split")
    required = channels if mask_columns == (MASK,) else (*channels, *mask_columns)
    return table_manifest(read_csv(path, required, text=text), path, root, classes, channels, mask_columns)


def table_manifest(
    table: pa.Table,
    path: AnyPath,
    root: AnyPath,
    classes: tuple[str, ...] | None,
    channels: tuple[str, ...],
    mask_columns: tuple[str, ...] = (MASK,),
) -> Manifest:
    """The manifest of a CSV's rows; `path` is its file, other parameters and errors are those of `read_table`.

    With a column ``label`` the classes are those of whole images, and masks only say where to look; without it they are
    the values of the masks, or the columns of masks where there is one for each class.
    """
    table = without_empty_cells(table, path, channels)
    has_masks = set(mask_columns) <= set(table.column_names) - set(channels)
    of_voxels = has_masks and LABEL not in table.column_names
    if not of_voxels:
        check_columns(path, table.column_names, (LABEL,))
    paths = [_joined(files, path) for files in zip(*(table[name].to_pylist() for name in channels), strict=True)]
    _check_unique(paths, path)
    masks = _masks(table, path, mask_columns) if has_masks else [None] * len(paths)
    if of_voxels and len(mask_columns) > 1 and classes is None:
        classes = (MASK_CLASSES[0], *mask_columns)
    labels, names = [0] * len(paths), classes or MASK_CLASSES
    if of_voxels:
        _check_unique([mask for mask in masks if mask], path)
    else:
        labels, names = label_codes(table[LABEL], classes, path)
    has_patients = "patient_id" in table.column_names
    columns = {
        "scan_id": paths,
        "path": paths,
        "patient_id": table["patient_id"].to_pylist() if has_patients else paths,
        "split": given_splits(table, path),
        "label_path": pa.array(masks, pa.string()),
        "row": range(len(paths)),
        "label": labels,
    }
    rows: list[Row] = pa.table(columns).to_pylist()
    used = [row for row in rows if row["label_path"] is not None or not of_voxels]
    unlabeled = [row for row in rows if row["label_path"] is None and of_voxels]
    notes = [] if has_patients else ["the manifest has no column patient_id: each row counts as a patient of its own"]
    if of_voxels and classes is None:
        notes.append("data.classes names no values of the masks: 0 is background and 1 is foreground")
    return Manifest(
        root=root,
        classes=names,
        scans=scans_table(used),
        samples=whole_scan_samples(used),
        quarantine=quarantine_rows([_without_mask(row, path) for row in unlabeled]),
        notes=tuple(notes),
        channels=channels if len(channels) > 1 else (),
        masks_are_targets=of_voxels,
    )


def _manifest_path(root: AnyPath, text: str) -> AnyPath:
    """A file in the root, or one elsewhere by its absolute path or URL."""
    return to_path(text) if is_url(text) or Path(text).is_absolute() else root / text


def _masks(table: pa.Table, manifest: AnyPath, columns: Sequence[str]) -> list[str | None]:
    """One path for the mask of each scan, as `voxray.scans.masks.open_mask` reads it; None where a scan has none."""
    rows = zip(*(table[name].to_pylist() for name in columns), strict=True)
    return [_joined(files, manifest) if any(files) else None for files in rows]


def _check_unique(paths: Sequence[str], manifest: AnyPath) -> None:
    repeated = [name for name, count in Counter(paths).items() if count > 1]
    if repeated:
        raise DataError(str(manifest), f"names '{repeated[0]}' more than once", "Keep one row for each image")


def _without_mask(row: Row, manifest: AnyPath) -> Row:
    name, number = str(row["path"]), row["row"]
    assert isinstance(number, int)
    return quarantine_row(name, name, f"{manifest.name}, line {number + 2}: {name} has no mask, so that it is not used")


def _joined(files: tuple[str | None, ...], manifest: AnyPath) -> str:
    """One path for the files of a scan's channels or classes, as `voxray.storage.paths.listed_files` reads it."""
    paths = ["" if file is None else scan_path(file, str(manifest)) for file in files]
    if len(paths) == 1:
        return paths[0]
    if odd := next((path for path in paths if set(path) & set("{,}")), None):
        problem = f"files that belong together cannot have commas or braces in their names, got {shown(odd)}"
        raise DataError(str(manifest), problem, "Rename the file")
    return "{" + ",".join(paths) + "}"


TABLE = Layout(
    "table",
    read_table,
    ("manifest", "classes", "channels", "mask_columns"),
    ("picture_window",),
    recognize=lambda root: (root / MANIFEST).is_file(),
)
