"""Small files of phantom data sets."""

import os
from pathlib import Path


def write_whole(path: Path, content: str) -> None:
    """Write a text in one step: the file appears whole or not at all."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(content, encoding="utf-8")
    unfinished.replace(path)
