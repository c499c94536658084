"""Output of commands: a line for each outcome, one line and an exit code for an error."""

import errno
import functools
import inspect
import shlex
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from voxray.console.failures import as_voxray_error, save_traceback, where_saved
from voxray.console.signals import Interrupted, raise_interrupted
from voxray.errors import UnexpectedError

OUT = Console(highlight=False, soft_wrap=True)

Debug = Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")]


def echo(line: str) -> None:
    """Print one line."""
    OUT.print(line, markup=False)


def handle_errors(command: Callable[..., None]) -> Callable[..., None]:
    """Turn every exception and signal into one line and an exit code; adds the option ``--debug``."""

    @functools.wraps(command)
    def wrapper(*positional: Any, debug: bool = False, **named: Any) -> None:
        with raise_interrupted() as arrived:
            try:
                command(*positional, **named)
            except KeyboardInterrupt as interruption:
                number = interruption.number if isinstance(interruption, Interrupted) else signal.SIGINT
                _fail(_how_to_resume(), 128 + (arrived or [number])[0])
            except Exception as error:
                if isinstance(error, OSError) and error.errno == errno.EPIPE:
                    raise  # the reader of a pipe has ended, which is no error
                if debug:
                    sys.stderr.write(getattr(error, "details", "") or traceback.format_exc())
                save_traceback(error, command.__name__)
                _fail(_in_one_line(error, command.__name__), as_voxray_error(error, "").exit_code)

    parameter = inspect.Parameter("debug", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Debug)
    signature = inspect.signature(command)
    wrapper.__signature__ = signature.replace(parameters=[*signature.parameters.values(), parameter])  # type: ignore[attr-defined]
    wrapper.__annotations__ = {**command.__annotations__, "debug": Debug}
    return wrapper


def _how_to_resume() -> str:
    program = Path(sys.argv[0]).name
    words = ["python", "-m", "voxray"] if program == "__main__.py" else [program]
    return f"interrupted; finished work is kept. Resume with: {shlex.join([*words, *sys.argv[1:]])}"


def _in_one_line(error: Exception, where: str) -> str:
    known = as_voxray_error(error, where)
    if not isinstance(known, UnexpectedError):
        return str(known)
    remedy = where_saved(error) or "Re-run with --debug to see the traceback"
    return str(UnexpectedError(known.where, known.problem, remedy))


def _fail(line: str, code: int) -> None:
    sys.stderr.write(f"voxray: {line}\n")
    raise SystemExit(code)
