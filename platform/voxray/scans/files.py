"""The files of a scan and their state, which tells without reading them whether the scan may have changed."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxray.errors import ScanError
from voxray.scans.formats.base import scan_errors
from voxray.scans.formats.channels import channel_files
from voxray.scans.formats.registry import find_format
from voxray.storage.paths import AnyPath, storage_errors

TAGS = ("ETag", "etag", "md5Hash", "LastModified", "mtime")  # of object storage, the first one that an object has


@dataclass(frozen=True)
class FilesState:
    """The state of the files of a scan.

    Attributes
    ----------
    files : int
        Those that exist.
    size_bytes : int
        Of all of them.
    digest : str
        Of their sizes and of the times at which they were written, in object storage of their ETags. No name is in it.
    """

    files: int
    size_bytes: int
    digest: str


def scan_files(path: AnyPath) -> list[AnyPath]:
    """All files that reading a scan opens, sorted: also voxel files that a header names, and the slices of a series.

    Where a header cannot be read, the files that it names are missing.
    """
    files: set[AnyPath] = set()
    for part in channel_files(path):
        try:
            with scan_errors(part):
                files.update(find_format(part).files(part))
        except ScanError:
            files.add(part)
    return sorted(files, key=str)


def files_state(files: Iterable[AnyPath]) -> FilesState:
    """The state of files; those that do not exist count as absent."""
    states = [_state(file) for file in files]
    present = [state for state in states if state is not None]
    digest = hashlib.sha256(repr(states).encode()).hexdigest()[:16]
    return FilesState(len(present), sum(size for size, _ in present), digest)


def _state(file: AnyPath) -> tuple[int, str] | None:
    """Size, and time of writing in nanoseconds or ETag."""
    try:
        if isinstance(file, Path):
            status = file.stat()
            return status.st_size, str(status.st_mtime_ns)
        with storage_errors(file):
            info: dict[str, Any] = file.fs.info(file.path)
    except OSError:
        return None
    return int(info.get("size") or 0), next((str(info[tag]) for tag in TAGS if info.get(tag)), "")
