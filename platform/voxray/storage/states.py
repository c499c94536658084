"""States of files: whether a file is still the one that was written."""

from collections.abc import Collection
from functools import lru_cache
from pathlib import Path

import xxhash

from voxray.storage.paths import AnyPath, tags

BLOCK = 2**20


def file_states(folder: AnyPath, names: Collection[str]) -> dict[str, str]:
    """The state of each file that exists, by its path relative to a folder.

    It is the size with a checksum of the content, or with the ETag in object storage.
    """
    if isinstance(folder, Path):
        return {name: _local_state(folder / name) for name in names if (folder / name).is_file()}
    # One listing of each folder costs less than a request for each file.
    parents = {name.rpartition("/")[0] for name in names}
    found: dict[str, str] = {}
    for parent in parents:
        listed = tags(folder / parent if parent else folder)
        start = f"{parent}/" if parent else ""
        found |= {f"{start}{name}": f"{size} etag {tag}" for name, (size, tag) in listed.items()}
    return {name: found[name] for name in names if name in found}


def is_same(state: str, earlier: str) -> bool:
    """Whether two states are those of one content; a checksum and an ETag do not compare, the sizes beside them do."""
    size, kind = state.split()[:2]
    return state == earlier or (earlier.startswith(f"{size} ") and not earlier.startswith(f"{size} {kind} "))


def _local_state(path: Path) -> str:
    stat = path.stat()
    return f"{stat.st_size} xxh3 {_checksum(path, stat.st_ino, stat.st_size, stat.st_mtime_ns)}"


@lru_cache(maxsize=4096)
def _checksum(path: Path, *version: int) -> str:  # noqa: ARG001
    """The checksum of a file's content, computed once for a version of the file."""
    checksum = xxhash.xxh3_128()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            checksum.update(block)
    return checksum.hexdigest()
