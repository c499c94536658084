"""Files that appear whole or not at all."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

UNFINISHED = ".unfinished"


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A path to write to: what lies there when the block ends becomes the file at `path`, in one step.

    It lies beside `path`, in a folder that is made where it is missing, and has the same suffix. If the block raises,
    it is removed and `path` stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{UNFINISHED}.{os.getpid()}.{path.name}")
    try:
        yield unfinished
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write a text; its folder is made."""
    with whole_file(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON; its folder is made."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove_unfinished(folder: Path) -> None:
    """Remove what killed processes left half-written, anywhere in a folder."""
    for leftover in folder.rglob(f"{UNFINISHED}.*"):
        leftover.unlink()
