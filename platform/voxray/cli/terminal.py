"""What every command says: one line an outcome, one line and an exit code for what went wrong."""

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
    """Print one line to the user."""
    OUT.print(line, markup=False)


def handle_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn errors of Voxray, and Ctrl-C, into one line and an exit code."""

    @functools.wraps(command)
    def wrapper(*positional: Any, **named: Any) -> None:
        try:
            command(*positional, **named)
        except VoxrayError as error:
            _fail(str(error), error.exit_code)
        except OSError as error:
            where = error.filename or "disk or storage"
            _fail(f"{where}: {error.strerror or error}. The same command goes on when that is mended.", 1)
        except Exception as error:
            if not is_storage_error(error):
                raise
            _fail(str(storage_failure("object storage", error)), 1)
        except KeyboardInterrupt as interruption:
            words = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
            number = signal.SIGTERM if isinstance(interruption, Interrupted) else signal.SIGINT
            _fail(f"interrupted; what is finished is kept, go on with: {words}", 128 + number)

    return wrapper


def _fail(line: str, code: int) -> None:
    sys.stderr.write(f"voxray: {line}\n")
    raise SystemExit(code)
