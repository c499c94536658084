"""NIfTI files in folders, and the names of the scans in them."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from voxray.storage.paths import AnyPath, matching

SUFFIXES = (".nii.gz", ".nii")


def nifti_files(folder: AnyPath, pattern: str = "*") -> Iterator[AnyPath]:
    """The NIfTI files that match a pattern, in the order of their names."""
    for path in matching(folder, pattern):
        # macOS leaves a file ._name beside each name when it writes to a foreign disk.
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file():
            yield path


def case_name(path: str) -> str:
    """``BRATS_001`` of ``imagesTr/BRATS_001.nii.gz``."""
    name = PurePosixPath(path).name
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), PurePosixPath(name).suffix)
    return name[: len(name) - len(suffix)]
