"""Scans in no known layout: every file below a folder that looks like one, or else every DICOM series."""

import pyarrow as pa

from voxray.datasets.dicom import find_series
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
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
    found = [path for path in matching(root, "**/*") if path.name.lower().endswith(known_suffixes()) and path.is_file()]
    # macOS leaves a file ._name beside each name when it writes to a foreign disk.
    paths = [relative_path(root, path) for path in found if not path.name.startswith(".")]
    aside: list[dict[str, object]] = []
    if not paths:
        series, aside, _ = find_series(root)
        paths = [each.path for each in series]
    if not paths and not aside:
        problem = f"holds no known layout, no scan ({', '.join(known_suffixes())}) and no DICOM series"
        raise DataError(str(root), problem, "Give the folder of a data set, or an experiment's TOML file")
    return _manifest(root, paths, aside)


def _manifest(root: AnyPath, paths: list[str], aside: list[dict[str, object]]) -> Manifest:
    none = [None] * len(paths)
    columns = [paths, paths, paths, none, none]
    return Manifest(
        root=root,
        classes=(),
        scans=pa.table(dict(zip(SCANS.names, columns, strict=True)), schema=SCANS),
        samples=SAMPLES.empty_table(),
        quarantine=quarantine_rows(aside),
        notes=("no known layout: every scan below the folder counts as one of a patient of its own, without a class",),
    )
