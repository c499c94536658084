"""MedMNIST: one ``.npz`` file of 2D or 3D images with labels, in the splits of the published comparison.

The format is that of https://medmnist.com: ``train_images``, ``train_labels``, and the same of ``val`` and ``test``;
images are (n, y, x), (n, y, x, 3) or (n, z, y, x), labels are (n, 1).
"""

import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.config.validation import nearest
from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import SPLITS
from voxray.datasets.manifest import Manifest, Row, quarantine_rows, scans_table, whole_scan_samples
from voxray.errors import DataError, ScanError
from voxray.scans.formats.base import scan_errors
from voxray.scans.formats.npz import open_member
from voxray.storage.paths import AnyPath, regular_file

COLORS = ("red", "green", "blue")
MOST_CLASSES = 10_000
REMEDY = "Give a MedMNIST file"


@dataclass(frozen=True, eq=False)
class Labeled:
    """One split: the shape of its images, which are not read, and its labels (n,)."""

    shape: tuple[int, ...]
    labels: NDArray[np.int64]


def read_medmnist(path: AnyPath, classes: tuple[str, ...] | None = None) -> Manifest:
    """List the images of a MedMNIST file; reads no voxel.

    Each image is a scan and a patient of its own; its path is its row in the file, ``train_images/17``.

    Parameters
    ----------
    path : path
        The ``.npz`` file.
    classes : tuple of str, optional
        Names of the labels 0, 1, …; the file has none.

    Raises
    ------
    DataError
        No such file, an array that is missing or has another shape, labels of several classes at once.
    """
    splits = {split: _read_split(path, split) for split in SPLITS}
    shapes = {content.shape[1:] for content in splits.values()}
    if len(shapes) > 1:
        raise DataError(str(path), f"its splits hold images of different shapes: {shapes}", "Fetch the file again")
    shape = shapes.pop()
    labels = np.concatenate([content.labels for content in splits.values()])
    rows: list[Row] = []
    for split, content in splits.items():
        for row, label in enumerate(content.labels.tolist()):
            name = f"{split}_images/{row}"
            rows.append({"scan_id": name, "path": name, "split": split, "row": row, "label": label})
    return Manifest(
        root=path,
        classes=_classes(path, labels, classes),
        scans=scans_table(rows),
        samples=whole_scan_samples(rows),
        quarantine=quarantine_rows([]),
        notes=("MedMNIST names no patients: each image counts as one patient",),
        channels=COLORS if len(shape) == 3 and shape[-1] == len(COLORS) else ("intensity",),
        published_split=True,
    )


def _read_split(path: AnyPath, split: str) -> Labeled:
    images, labels = f"{split}_images", f"{split}_labels"
    try:
        with scan_errors(path):
            _check_members(path, (images, labels))
            with open_member(path, images) as member:
                shape = member.shape
            with open_member(path, labels) as member:
                order: Any = "F" if member.columns_first else "C"
                values = np.frombuffer(member.source.read(), member.dtype).reshape(member.shape, order=order)
    except ScanError as error:
        raise DataError(error.where, error.problem, error.remedy) from None
    if len(shape) not in (3, 4):
        problem = f"{images}: expected (n, y, x), (n, y, x, 3) or (n, z, y, x), got {shape}"
        raise DataError(str(path), problem, "Give a MedMNIST file")
    return Labeled(shape, _single_labels(path, split, values, shape[0]))


def _check_members(path: AnyPath, names: Sequence[str]) -> None:
    if isinstance(path, Path):
        regular_file(path)
    with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
        members = archive.namelist()
    for name in names:
        if f"{name}.npy" not in members:
            hint = nearest(f"{name}.npy", members)
            raise ScanError(str(path), f"has no array '{name}.npy' ({hint})", "Give a MedMNIST file")


def _single_labels(path: AnyPath, split: str, values: NDArray[np.generic], count: int) -> NDArray[np.int64]:
    """Labels (n,) of a column (n, 1)."""
    if values.ndim == 2 and values.shape[1] > 1:
        problem = (
            f"{split}_labels has {values.shape[1]} columns: an image of this file may be of several classes at once"
        )
        raise DataError(str(path), problem, "A classifier here gives each image one class; choose another file")
    if values.dtype.kind not in "iu" or values.size != count or values.shape[:1] != (count,) or not count:
        problem = f"{split}_labels: expected {count} integers, one for each image, got {values.dtype} {values.shape}"
        raise DataError(str(path), problem, "Fetch the file again")
    return values.reshape(-1).astype(np.int64)


def _classes(path: AnyPath, labels: NDArray[np.int64], names: tuple[str, ...] | None) -> tuple[str, ...]:
    count = max(2, int(labels.max()) + 1)
    if count > MOST_CLASSES:
        raise DataError(str(path), f"expected fewer than {MOST_CLASSES:,} classes, got the label {count - 1}", REMEDY)
    classes = names or tuple(map(str, range(count)))
    if labels.min() < 0 or len(classes) < count:
        problem = f"its labels run from {labels.min()} to {labels.max()}, but data.classes names {len(classes)} classes"
        raise DataError(str(path), problem, "Name each class once, in the order of the labels")
    return classes


MEDMNIST = Layout(
    "medmnist",
    read_medmnist,
    ("classes",),
    recognize=lambda root: root.is_file() and root.suffix.lower() == ".npz",
    is_file=True,
)
