"""Which layout a folder or file has, by what lies in it."""

from collections.abc import Callable
from itertools import islice

from voxray.datasets import brats2020, decathlon, luna16, mosmed
from voxray.scans.formats.dicom import is_dicom
from voxray.storage.paths import AnyPath

LOOK_AT_FILES = 100  # before a folder is taken for one without DICOM files


def recognize_layout(root: AnyPath) -> str | None:
    """Name of the layout, as an experiment would give it; None where no layout fits.

    Nothing is read: whether the lists hold what they should is the business of the layout's own reader.
    """
    return next((layout for layout, fits in LAYOUTS.items() if fits(root)), None)


def _is_brats2020(root: AnyPath) -> bool:
    return any((root / inner / brats2020.LIST).is_file() for inner in brats2020.INNER)


def _is_luna16(root: AnyPath) -> bool:
    has_list = any((root / name).is_file() for name in luna16.LISTS)
    return has_list and any((root / name).is_dir() for name in luna16.SUBSETS)


def _is_mosmed(root: AnyPath) -> bool:
    return any((root / base / name).is_dir() for base in ("", mosmed.STUDIES) for name in mosmed.FOLDERS)


def _is_dicom(root: AnyPath) -> bool:
    if not (root / "labels.csv").is_file():
        return False
    files = (path for path in root.rglob("*") if path.is_file())
    return any(is_dicom(path) for path in islice(files, LOOK_AT_FILES))


# The most particular comes first: a manifest.csv may lie beside anything.
LAYOUTS: dict[str, Callable[[AnyPath], bool]] = {
    "decathlon": lambda root: (root / decathlon.DATASET_FILE).is_file(),
    "brats2020": _is_brats2020,
    "luna16": _is_luna16,
    "mosmed": _is_mosmed,
    "medmnist": lambda root: root.is_file() and root.suffix.lower() == ".npz",
    "table": lambda root: (root / "manifest.csv").is_file(),
    "dicom": _is_dicom,
}
