"""What an error message says to do, applied to the letter."""

import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from faults.scenes import HERE, TOML

COMMAND = re.compile(r"voxray (ingest|train|evaluate|report|run)\b(?:[^.;,]*?(--repair))?")
DELETE = re.compile(r"[Dd]elete (it|this one|this folder|the store)\b|[Dd]elete '([^']+)'")


def apply_remedy(line: str, folder: Path, run: Callable[[Sequence[str]], Any]) -> bool:
    """Do what the remedy of an error line says; whether it says anything that can be done.

    Parameters
    ----------
    line : str
        ``voxray: where: what is wrong. What to do.``
    folder : Path
        Of the scene.
    run : callable
        Runs a command.
    """
    where = line.removeprefix("voxray: ").replace(f"{HERE}/", "").partition(": ")[0]
    _, _, remedy = line.removesuffix(".").rpartition(". ")
    done = False
    if match := DELETE.search(remedy):
        _delete(folder / _deleted(match, where))
        done = True
    if match := COMMAND.search(remedy):
        name, repair = match.groups()
        run((name, TOML, *(() if name == "report" else ("--no-ray",)), *filter(None, [repair])))
        done = True
    return done or "e-run the same command" in remedy


def _deleted(match: re.Match[str], where: str) -> str:
    if match[2]:
        return match[2]
    if match[1] == "the store":
        return where[: where.rindex("/store") + len("/store")] if "/store" in where else "store"
    return where


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
