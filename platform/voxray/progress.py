"""Progress with a rate and the time left: a bar on a terminal, a line now and then in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

LOG_EVERY_S = 10.0

Show = Callable[[int, int, str], None]


class _Rate(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else rate_text(speed, task.fields["unit"]), style="cyan")


def rate_text(per_s: float, unit: str) -> str:
    """Units a second, or a minute or an hour where a second is too short to see one."""
    seconds, name = (1, "s") if per_s >= 1 or per_s == 0 else (60, "min") if per_s * 60 >= 1 else (3600, "h")
    return f"{per_s * seconds:,.1f} {unit}/{name}"


@contextmanager
def progress(stage: str, unit: str, done: int = 0) -> Iterator[Show]:
    """Show how far a stage is; gives a function of (done, total, text).

    Parameters
    ----------
    stage : str
    unit : str
        Plural, such as ``scans``.
    done : int
        What an earlier run did already; it does not count in the rate.
    """
    if sys.stderr.isatty():
        with _bar(stage, unit) as show:
            yield show
        return
    began = last = time.monotonic()
    first = done

    def log(now: int, total: int, text: str) -> None:
        nonlocal began, last, first
        moment = time.monotonic()
        if first == done and now < total:
            # Starting up is not part of the rate.
            began, first = moment, now
        if moment - last < LOG_EVERY_S and now < total:
            return
        last = moment
        rate = (now - first) / max(moment - began, 1e-9)
        left = f", {(total - now) / rate:,.0f} s left" if rate > 0 and now < total else ""
        said = f"{stage}: {now:,}/{total:,} {unit}, {rate_text(rate, unit)}{left}"
        sys.stderr.write(f"{said}{' · ' + text if text else ''}\n")
        sys.stderr.flush()

    yield log


@contextmanager
def _bar(stage: str, unit: str) -> Iterator[Show]:
    columns = (
        TextColumn("[bold]{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[text]}"),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(stage, total=None, unit=unit, text="")

        def show(now: int, total: int, text: str) -> None:
            bar.update(task, completed=now, total=total, text=text)

        yield show
