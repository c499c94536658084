"""Files that are written as a whole or not at all, on disks and in object storage."""

import errno
import json
import os
import re
import secrets
import socket
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from voxray.errors import VoxrayError, WorkError
from voxray.storage.paths import AnyPath, upload

UNFINISHED = ".unfinished"
NAMED = 32  # characters of the host and of the file in the name of an unfinished file, which has at most 255 bytes
OLD_S = 3600.0  # without a write, after which an unfinished file counts as a leftover
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: AnyPath) -> Iterator[Path]:
    """A local path to write to; when the block ends, its content becomes the file at `path` in one step.

    The local path ends as `path` does. It is beside `path`, in a folder that is created if needed, or in a temporary
    folder until it is uploaded. If the block raises, it is removed and `path` is unchanged. On a disk the file is there
    after a power cut too, and its mode follows the umask, whatever the writer does.

    Raises
    ------
    WorkError
        The disk is full or failed, or the folder was removed.
    """
    if not isinstance(path, Path):
        with tempfile.TemporaryDirectory(prefix="voxray_") as folder:
            unfinished = Path(folder, path.name)
            with _disk_errors(path):
                yield unfinished
            upload(unfinished, path)
        return
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_name(_unfinished_name(path.name))
        try:
            with unfinished.open("xb") as file:
                mode = os.fstat(file.fileno()).st_mode
            yield unfinished
            # A writer may have put a file of its own there.
            if unfinished.stat().st_mode != mode:
                unfinished.chmod(mode)
            publish(unfinished, path)
        finally:
            with suppress(OSError):
                unfinished.unlink(missing_ok=True)


def publish(unfinished: Path, path: Path) -> None:
    """Give a complete file its final name, on the disk itself and not only in the system's memory."""
    with unfinished.open("rb") as file:
        os.fsync(file.fileno())
    unfinished.replace(path)
    _sync_folder(path.parent)


def write_bytes(path: AnyPath, content: bytes) -> None:
    """Write bytes; the folder is created if needed."""
    with atomic_write(path) as unfinished:
        unfinished.write_bytes(content)


def write_text(path: AnyPath, text: str) -> None:
    """Write a text in UTF-8; the folder is created if needed."""
    write_bytes(path, text.encode())


def append_line(path: Path, line: str) -> None:
    """Append a line of text; an incomplete one of a killed process stays a line of its own."""
    with _disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            end = file.seek(0, os.SEEK_END)
            file.seek(max(0, end - 1))
            is_torn = file.read(1) not in (b"", b"\n")
            file.write(("\n" * is_torn + line + "\n").encode())


def write_json(path: AnyPath, content: Any) -> None:
    """Write JSON; the folder is created if needed."""
    write_text(path, json.dumps(content, indent=2) + "\n")


def remove_unfinished(folder: AnyPath, pattern: str = "**/") -> None:
    """Remove the unfinished files of killed processes in the folders that a pattern matches; object storage has none.

    Those of living processes of this host and of all other hosts stay while they may still be written.
    """
    if not isinstance(folder, Path):
        return
    for file in folder.glob(f"{pattern}{UNFINISHED}.*"):
        with suppress(OSError):  # it was finished meanwhile, or the disk cannot be written
            if _is_leftover(file):
                file.unlink()


def _unfinished_name(name: str) -> str:
    # Host and process tell leftovers from files being written. Containers may share both, so a random part is added.
    return f"{UNFINISHED}.{_host()}.{os.getpid()}.{secrets.token_hex(4)}.{name[-NAMED:].lstrip('.')}"


def _host() -> str:
    return re.sub(r"[^\w-]", "-", socket.gethostname(), flags=re.ASCII)[:NAMED]


def _is_leftover(file: Path) -> bool:
    host, process = [*file.name.removeprefix(f"{UNFINISHED}.").split("."), ""][:2]
    is_dead = host == _host() and process.isdecimal() and not _is_alive(int(process))
    return is_dead or time.time() - file.stat().st_mtime > OLD_S


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _sync_folder(folder: Path) -> None:
    # With it the journals of ext4, XFS and Btrfs write the new folders above it too. Some network file systems cannot
    # do this for a folder, and have written its names already.
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextmanager
def _disk_errors(path: AnyPath) -> Iterator[None]:
    """Turn OSError into WorkError with a remedy."""
    try:
        yield
    except VoxrayError:
        raise
    except OSError as error:
        problem, remedy = f"cannot be written: {error.strerror or error}", "Check the disk"
        if error.errno in FULL:
            problem, remedy = f"the disk is full ({error.strerror})", "Free some space"
        elif isinstance(error, FileNotFoundError):
            problem, remedy = "its folder was removed while it was being written", "Keep the folder"
        raise WorkError(str(path), problem, f"{remedy}, then re-run the same command to resume") from error
