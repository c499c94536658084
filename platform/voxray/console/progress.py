"""Progress with rate and remaining time: a bar on a terminal, a line every ten seconds in a log."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.text import Text

from voxray.console.units import seconds_text

LOG_EVERY_S = 10.0

OnProgress = Callable[[int, int, str], None]


class Pace:
    """Rate and remaining time of work, without the time until its first unit.

    Parameters
    ----------
    done : int
        Units that an earlier run finished.
    """

    def __init__(self, done: int = 0) -> None:
        self.earlier = self.first = self.now = done
        self.total = 0
        self.started = time.monotonic()

    def move(self, now: int, total: int) -> None:
        """Set the number of units that are done and the total; fewer than before restart the clock."""
        if now < self.now or (self.first == self.earlier and now < total):
            self.started, self.first = time.monotonic(), now
        self.now, self.total = now, total

    @property
    def rate(self) -> float:
        """Units per second until this moment."""
        return (self.now - self.first) / max(time.monotonic() - self.started, 1e-9)

    @property
    def left_s(self) -> float | None:
        """Remaining seconds; None if unknown or finished."""
        rate = self.rate
        return (self.total - self.now) / rate if rate > 0 and self.now < self.total else None


class _Rate(ProgressColumn):
    """Units per second."""

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else rate_text(speed, task.fields["unit"]), style="cyan")


def rate_text(per_s: float, unit: str) -> str:
    """Units per second, or per minute or hour where they take longer."""
    seconds, name = (1, "s") if per_s >= 1 or per_s == 0 else (60, "min") if per_s * 60 >= 1 else (3600, "h")
    return f"{per_s * seconds:,.1f} {unit}/{name}"


@contextmanager
def progress(stage: str, unit: str, done: int = 0) -> Iterator[OnProgress]:
    """Show the progress of a stage; yields a function of (done, total, text), with a total of 0 while it is unknown.

    Parameters
    ----------
    stage : str
    unit : str
        Plural, such as ``scans``.
    done : int
        Units that an earlier run finished; they do not count in the rate.
    """
    if sys.stderr.isatty():
        with _bar(stage, unit) as on_progress:
            yield on_progress
        return
    pace, last = Pace(done), time.monotonic()

    def log(now: int, total: int, text: str) -> None:
        nonlocal last
        pace.move(now, total)
        moment = time.monotonic()
        if moment - last < LOG_EVERY_S and now < total:
            return
        last = moment
        left = "" if pace.left_s is None else f", {seconds_text(pace.left_s)} left"
        state = f"{now:,}/{total:,} {unit}, {rate_text(pace.rate, unit)}{left}" if total else "starting"
        sys.stderr.write(f"{stage}: {state}{' · ' + text if text else ''}\n")
        sys.stderr.flush()

    yield log


@contextmanager
def _bar(stage: str, unit: str) -> Iterator[OnProgress]:
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

        def on_progress(now: int, total: int, text: str) -> None:
            bar.update(task, completed=now, total=total or None, text=text)

        yield on_progress
