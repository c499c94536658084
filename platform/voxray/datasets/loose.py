"""Scans in no known layout: every file below a folder in a known format, or else every DICOM series."""

from collections.abc import Sequence

from voxray.datasets.dicom import find_series
from voxray.datasets.manifest import SAMPLES, Manifest, Row, quarantine_rows, scans_table
from voxray.errors import DataError
from voxray.scans.formats.registry import known_suffixes
from voxray.storage.paths import AnyPath, matching, relative_path


def read_loose(root: AnyPath) -> Manifest:
    """List the scans below a folder, or one file; each counts as a patient, and none has a class.

    Raises
    ------
    DataError
        There is no scan.
    """
    if root.is_file():
        return _manifest(root.parent, [root.name], [])
    if paths := [relative_path(root, path) for path in matching(root, "**/*") if _is_scan(path)]:
        return _manifest(root, paths, [])
    series, quarantine, _ = find_series(root)
    if not series and not quarantine:
        problem = f"holds no known layout, no scan ({', '.join(known_suffixes())}) and no DICOM series"
        raise DataError(str(root), problem, "Give the folder of a data set, or an experiment's TOML file")
    return _manifest(root, [found.path for found in series], quarantine)


def _is_scan(path: AnyPath) -> bool:
    # macOS leaves a file ._name beside each name when it writes to a foreign disk.
    return path.name.lower().endswith(known_suffixes()) and not path.name.startswith(".") and path.is_file()


def _manifest(root: AnyPath, paths: Sequence[str], quarantine: Sequence[Row]) -> Manifest:
    return Manifest(
        root=root,
        classes=(),
        scans=scans_table([{"scan_id": path, "path": path} for path in paths]),
        samples=SAMPLES.empty_table(),
        quarantine=quarantine_rows(quarantine),
        notes=("no known layout: every scan below the folder counts as one of a patient of its own, without a class",),
    )
