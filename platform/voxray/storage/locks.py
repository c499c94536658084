"""Locks of folders: one process writes at a time."""

import errno
import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TextIO

from voxray.errors import WorkError
from voxray.storage.paths import AnyPath

READ_ONLY = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextmanager
def locked(folder: AnyPath, *, must_write: bool = True) -> Iterator[None]:
    """Hold the lock of a folder for the time of the block; the lock ends with the process, also if it is killed.

    The lock is a file beside the folder, so that the folder holds only its content. Object storage has no such locks:
    there this does nothing.

    Parameters
    ----------
    folder : AnyPath
        A link to a folder has the lock of that folder.
    must_write : bool
        Whether the block writes. If not, it runs without a lock where the disk cannot be written.

    Raises
    ------
    WorkError
        Another process holds the lock, or the disk cannot be written or has no locks.
    """
    if not isinstance(folder, Path):
        yield
        return
    file = _open_lock(folder, must_write)
    if file is None:
        yield
        return
    with file:
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


def _open_lock(folder: Path, must_write: bool) -> TextIO | None:
    """The file of a folder's lock; None where it cannot be written and need not be."""
    place = folder.resolve()
    lock = place.with_name(f".{place.name}.lock")
    try:
        lock.parent.mkdir(parents=True, exist_ok=True)
        return lock.open("a+")
    except OSError as error:
        if error.errno in READ_ONLY and not must_write:
            return None
        problem = f"cannot be locked: its lock file {lock} cannot be written: {error.strerror}"
        raise WorkError(str(folder), problem, "Choose a folder on a disk that you can write to") from None
