"""MedMNIST: one ``.npz`` file of 2D or 3D images with labels, in the splits of the published comparison.

The format is that of https://medmnist.com: ``train_images``, ``train_labels``, and the same of ``val`` and ``test``;
images are (n, y, x), (n, y, x, 3) or (n, z, y, x), labels are (n, 1).
"""

import zipfile
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.config.validation import nearest
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.datasets.tables import SPLITS
from voxray.errors import DataError
from voxray.storage.paths import AnyPath

COLORS = ("red", "green", "blue")


@dataclass(frozen=True, eq=False)
class Labeled:
    """One split: the shape of its images, which are not read, and its labels (n,)."""

    shape: tuple[int, ...]
    labels: NDArray[np.int64]


def read_medmnist(path: AnyPath, classes: tuple[str, ...] | None = None) -> Manifest:
    """List the images of a MedMNIST file; reads no voxel.

    Each image is a scan of its own, and its patient; its path is that of its row in the file, ``train_images/17``.

    Parameters
    ----------
    path : Place
        The ``.npz`` file.
    classes : tuple of str, optional
        Names of the labels 0, 1, …; the file has none.

    Raises
    ------
    DataError
        No such file, an array that is missing or has another shape, labels of several classes at once.
    """
    splits = {split: _read_split(path, split) for split in SPLITS}
    shapes = {each.shape[1:] for each in splits.values()}
    if len(shapes) > 1:
        raise DataError(str(path), f"its splits hold images of different shapes: {shapes}", "Fetch the file again")
    labels = np.concatenate([each.labels for each in splits.values()])
    rows = np.concatenate([np.arange(len(each.labels)) for each in splits.values()])
    owners = np.repeat(SPLITS, [len(each.labels) for each in splits.values()]).tolist()
    ids = [f"{split}_images/{row}" for split, row in zip(owners, rows.tolist(), strict=True)]
    nothing = [None] * len(ids)
    scans = [ids, ids, ids, owners, nothing]
    samples = [ids, rows, nothing, nothing, nothing, labels]
    return Manifest(
        root=path,
        classes=_classes(path, labels, classes),
        scans=pa.table(dict(zip(SCANS.names, scans, strict=True)), schema=SCANS),
        samples=pa.table(dict(zip(SAMPLES.names, samples, strict=True)), schema=SAMPLES),
        quarantine=quarantine_rows([]),
        notes=("MedMNIST names no patients: each image counts as one patient",),
        channels=COLORS if _is_colored(shapes.pop()) else ("intensity",),
        published_split=True,
    )


def _read_split(path: AnyPath, split: str) -> Labeled:
    try:
        with path.open("rb") as stream, zipfile.ZipFile(stream) as archive:
            images, labels = f"{split}_images.npy", f"{split}_labels.npy"
            for member in (images, labels):
                if member not in archive.namelist():
                    hint = nearest(member, archive.namelist())
                    raise DataError(str(path), f"has no array '{member}' ({hint})", "Give a MedMNIST file")
            with archive.open(images) as file:
                shape = _read_shape(file)
            with archive.open(labels) as file:
                values = np.lib.format.read_array(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise DataError(str(path), f"cannot be read: {error}", "Fetch the file again") from None
    if len(shape) not in (3, 4):
        problem = f"{split}_images wants (n, y, x), (n, y, x, 3) or (n, z, y, x), got {shape}"
        raise DataError(str(path), problem, "Give a MedMNIST file")
    return Labeled(shape, _single_labels(path, split, values, shape[0]))


def _read_shape(file: object) -> tuple[int, ...]:
    version = np.lib.format.read_magic(file)  # type: ignore[arg-type]
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape: tuple[int, ...] = read(file)[0]  # type: ignore[arg-type]
    return shape


def _single_labels(path: AnyPath, split: str, values: NDArray[np.generic], count: int) -> NDArray[np.int64]:
    """Labels (n,) of a column (n, 1)."""
    if values.ndim == 2 and values.shape[1] > 1:
        problem = (
            f"{split}_labels has {values.shape[1]} columns: an image of this file may be of several classes at once"
        )
        raise DataError(str(path), problem, "A classifier here gives each image one class; choose another file")
    if values.dtype.kind not in "iu" or values.size != count or values.shape[:1] != (count,) or not count:
        problem = f"{split}_labels wants one whole number for each of {count} images, got {values.dtype} {values.shape}"
        raise DataError(str(path), problem, "Fetch the file again")
    return values.reshape(-1).astype(np.int64)


def _is_colored(shape: tuple[int, ...]) -> bool:
    return len(shape) == 3 and shape[-1] == len(COLORS)


def _classes(path: AnyPath, labels: NDArray[np.int64], names: tuple[str, ...] | None) -> tuple[str, ...]:
    count = max(2, int(labels.max()) + 1)
    classes = names or tuple(str(number) for number in range(count))
    if labels.min() < 0 or len(classes) < count:
        problem = f"its labels run from {labels.min()} to {labels.max()}, but data.classes names {len(classes)} classes"
        raise DataError(str(path), problem, "Name each class once, in the order of the labels")
    return classes
