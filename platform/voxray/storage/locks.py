"""Locks of folders: one process writes at a time."""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from voxray.errors import WorkError
from voxray.storage.paths import AnyPath


@contextmanager
def locked(folder: AnyPath) -> Iterator[None]:
    """Hold the lock of a folder for the time of the block; the lock ends with the process, also if it is killed.

    The lock is a file beside the folder, so that the folder holds only its content. Object storage has no such locks:
    there this does nothing.

    Raises
    ------
    WorkError
        Another process holds the lock, or the disk has no locks.
    """
    if not isinstance(folder, Path):
        yield
        return
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            problem = f"is being written by another process (id {file.read().strip()})"
            raise WorkError(str(folder), problem, "Wait until it ends, or choose another folder") from None
        except OSError as error:
            problem = f"cannot be locked: {error.strerror}"
            raise WorkError(str(folder), problem, "Choose a folder on a disk with file locks") from None
        file.truncate(0)
        file.write(f"{os.getpid()} on {socket.gethostname()}")
        file.flush()
        yield
