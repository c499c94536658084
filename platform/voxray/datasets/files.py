"""NIfTI files in folders, and the names of the scans in them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from voxray.storage.paths import AnyPath, matching

SUFFIXES = (".nii.gz", ".nii")


def nifti_files(folder: AnyPath, pattern: str = "*") -> Iterator[AnyPath]:
    """The NIfTI files that match a pattern, in the order of their names."""
    for path in matching(folder, pattern):
        # macOS leaves a file ._name beside each name when it writes to a foreign disk.
        if path.name.lower().endswith(SUFFIXES) and not path.name.startswith(".") and path.is_file():
            yield path


def scan_names(names: Mapping[str, str]) -> dict[str, str]:
    """The name of each scan by its path; the path itself where several scans have one name.

    Examples
    --------
    >>> scan_names({"a/c1.nii": "c1", "b/c1.nii": "c1", "b/c2.nii": "c2"})
    {'a/c1.nii': 'a/c1.nii', 'b/c1.nii': 'b/c1.nii', 'b/c2.nii': 'c2'}
    """
    counts = Counter([*names, *names.values()])  # a name must not be the path of another scan either
    return {path: name if counts[name] == 1 else path for path, name in names.items()}


def case_name(path: str) -> str:
    """``BRATS_001`` of ``imagesTr/BRATS_001.nii.gz``."""
    name = PurePosixPath(path).name
    suffix = next((end for end in SUFFIXES if name.lower().endswith(end)), PurePosixPath(name).suffix)
    return name[: len(name) - len(suffix)]
