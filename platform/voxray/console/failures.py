"""Any exception as an error that a user can read, and its traceback in a file."""

import sys
import tempfile
import traceback
from contextlib import suppress
from pathlib import Path

from voxray.errors import UnexpectedError, VoxrayError, WorkError
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath, is_storage_error, storage_failure

LONGEST = 500  # characters of an exception's text
SAVED = "The traceback is in "
RESUME = "Re-run the same command to resume once this is fixed"


def describe(error: BaseException) -> str:
    """The text of an exception in one line, with its type unless it is an error of Voxray."""
    text = " ".join(str(error).split())
    if not isinstance(error, VoxrayError):
        text = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def as_voxray_error(error: Exception, where: str) -> VoxrayError:
    """The error for an exception: of a disk, of object storage, or else unexpected.

    Parameters
    ----------
    error : Exception
    where : str
        What was at work: a command, a shard or a scan.
    """
    if isinstance(error, VoxrayError):
        return error
    if isinstance(error, OSError):
        return WorkError(str(error.filename or "disk or storage"), error.strerror or str(error), RESUME)
    if is_storage_error(error):
        return storage_failure("object storage", error)
    return UnexpectedError(where, describe(error), "", "".join(traceback.format_exception(error)))


def save_traceback(error: Exception, where: str, path: AnyPath | None = None) -> None:
    """Write the traceback of an unexpected exception, once, and add a note to it that says where.

    Parameters
    ----------
    error : Exception
    where : str
        What was at work.
    path : AnyPath, optional
        By default a new file in the temporary folder.
    """
    unexpected = as_voxray_error(error, where)
    if not isinstance(unexpected, UnexpectedError) or where_saved(error):
        return
    with suppress(OSError, WorkError):
        if path is None:
            path = Path(tempfile.mkdtemp(prefix="voxray_"), f"{where}.txt")
        write_text(path, unexpected.details)
        error.add_note(f"{SAVED}{path}")


def where_saved(error: Exception) -> str:
    """Where `save_traceback` wrote the traceback, in a sentence; empty if it did not."""
    return next((note for note in getattr(error, "__notes__", ()) if note.startswith(SAVED)), "")


def print_warning(text: str) -> None:
    """Print a warning on the standard error."""
    sys.stderr.write(f"warning: {text}\n")
    sys.stderr.flush()
