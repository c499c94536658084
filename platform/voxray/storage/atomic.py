"""Files that appear whole or not at all, on disks and in object storage."""

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
    """A path to write to: what lies there when the block ends becomes the file at `path`, in one step.

    It lies on a disk and has the same suffix: beside `path`, in a folder that is made where it is missing, or in a
    temporary folder until it is put into object storage. If the block raises, it is removed and `path` stays as it was.
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
    """Write bytes; their folder is made."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: AnyPath, text: str) -> None:
    """Write a text; its folder is made."""
    write_bytes(path, text.encode())


def write_json(path: AnyPath, content: Any) -> None:
    """Write JSON; its folder is made."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove_unfinished(folder: AnyPath) -> None:
    """Remove what killed processes left half-written, anywhere in a folder; object storage shows none."""
    if not isinstance(folder, Path):
        return
    for leftover in folder.rglob(f"{UNFINISHED}.*"):
        leftover.unlink()
