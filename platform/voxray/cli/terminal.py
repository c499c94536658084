"""Output of commands: a line for each outcome, one line and an exit code for an error."""

import functools
import shlex
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from voxray.console.signals import Interrupted
from voxray.errors import VoxrayError
from voxray.storage.paths import is_storage_error, storage_failure

OUT = Console(highlight=False, soft_wrap=True)


def echo(line: str) -> None:
    """Print one line."""
    OUT.print(line, markup=False)


def handle_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors of Voxray, of disks and of storage, and Ctrl-C, into one line and an exit code."""

    @functools.wraps(command)
    def wrapper(*positional: Any, **named: Any) -> None:
        try:
            command(*positional, **named)
        except VoxrayError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            where = error.filename or "disk or storage"
            _fail(f"{where}: {error.strerror or error}. Re-run the same command to resume once this is fixed.", 1)
        except Exception as error:
            if not is_storage_error(error):
                raise
            _fail(str(storage_failure("object storage", error)), 1)
        except KeyboardInterrupt as interruption:
            program = Path(sys.argv[0]).name
            words = ["python", "-m", "voxray"] if program == "__main__.py" else [program]
            number = signal.SIGTERM if isinstance(interruption, Interrupted) else signal.SIGINT
            line = f"interrupted; finished work is kept. Resume with: {shlex.join([*words, *sys.argv[1:]])}"
            _fail(line, 128 + number)

    return wrapper


def _fail(line: str, code: int) -> None:
    sys.stderr.write(f"voxray: {line}\n")
    raise SystemExit(code)
