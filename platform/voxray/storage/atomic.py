"""Files that are written as a whole or not at all, on disks and in object storage."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from voxray.storage.paths import AnyPath, upload

UNFINISHED = ".unfinished"


@contextmanager
def atomic_write(path: AnyPath) -> Iterator[Path]:
    """A local path to write to; when the block ends, its content becomes the file at `path` in one step.

    The local path has the same suffix. It is beside `path`, in a folder that is created if needed, or in a temporary
    folder until it is uploaded. If the block raises, it is removed and `path` is unchanged.
    """
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory(prefix="voxray_") as folder:
            unfinished = Path(folder, path.name)
            yield unfinished
            upload(unfinished, path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}.{os.getpid()}.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_bytes(path: AnyPath, content: bytes) -> None:
    """Write bytes; the folder is created if needed."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: AnyPath, text: str) -> None:
    """Write a text in UTF-8; the folder is created if needed."""
    write_bytes(path, text.encode())


def write_json(path: AnyPath, content: Any) -> None:
    """Write JSON; the folder is created if needed."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove_unfinished(folder: AnyPath) -> None:
    """Remove the unfinished files of killed processes, anywhere in a folder; object storage has none."""
    if not isinstance(folder, Path):
        return
    for leftover in folder.rglob(f"{UNFINISHED}.*"):
        leftover.unlink()
