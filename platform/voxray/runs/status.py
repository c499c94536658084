"""What a run is doing: a small file in its folder, which every stage keeps fresh while it works."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Literal

from voxray.console.progress import OnProgress, Pace, progress, rate_text
from voxray.console.units import seconds_text
from voxray.errors import NotReadyError, WorkError
from voxray.runs.folder import RunFolder, read_state
from voxray.storage.atomic import write_json
from voxray.storage.paths import AnyPath, matching

BEAT_S = 2.0
SILENT_S = 30.0
State = Literal["working", "finished", "failed", "interrupted"]
ORDER = ("ingest", "train", "evaluate", "report")  # each builds on those before it


@dataclass(frozen=True)
class StageStatus:
    """How far a stage was when it last wrote.

    Attributes
    ----------
    state : State
    done, total : int
        In units; a total of 0 is not known yet.
    unit : str
        Plural, such as ``shards``.
    rate : float
        Units per second.
    left_s : float or None
        None where it cannot be said.
    text : str
        What else the stage tells, such as figures, or how much was set aside.
    began, seen : float
        Seconds since 1970: when the stage began, and when this was written.
    process : int
    host : str
        Who writes.
    error : str
        Why it failed, else empty.
    """

    state: State
    done: int
    total: int
    unit: str
    rate: float
    left_s: float | None
    text: str
    began: float
    seen: float
    process: int
    host: str
    error: str = ""


@contextmanager
def heartbeat(folder: RunFolder, stage: str, unit: str, done: int = 0) -> Iterator[OnProgress]:
    """Keep the status of a stage fresh for the time of the block; gives a function of (done, total, text).

    A thread writes, whether or not there is progress: who reads then knows a stage that takes its time from one that
    was killed. A status that cannot be written stops no work.
    """
    outdated = ORDER[ORDER.index(stage) :] if stage in ORDER else (stage,)
    others = {name: asdict(each) for name, each in read_status(folder).items() if name not in outdated}
    pace, began, text, stop = Pace(done), time.time(), "", threading.Event()

    def on_progress(now: int, total: int, words: str) -> None:
        nonlocal text
        pace.move(now, total)
        text = words

    def look() -> StageStatus:
        return StageStatus(
            *("working", pace.now, pace.total, unit, pace.rate, pace.left_s, text),
            *(began, time.time(), os.getpid(), socket.gethostname()),
        )

    def write(status: StageStatus) -> None:
        with suppress(OSError, WorkError):
            write_json(folder.status, {**others, stage: asdict(status)})

    def beat() -> None:
        write(look())
        while not stop.wait(BEAT_S):
            write(look())

    beating = threading.Thread(target=beat, daemon=True)
    beating.start()
    state: State = "finished"
    problem = ""
    try:
        yield on_progress
    except (KeyboardInterrupt, SystemExit):
        state = "interrupted"
        raise
    except Exception as error:
        state, problem = "failed", str(error) or type(error).__name__
        raise
    finally:
        stop.set()
        beating.join()
        write(replace(look(), state=state, left_s=None, error=problem))


@contextmanager
def reported(folder: RunFolder, stage: str, unit: str, done: int = 0) -> Iterator[OnProgress]:
    """Show how far a stage is to whoever started it, and to whoever asks for the status."""
    with heartbeat(folder, stage, unit, done) as record, progress(stage, unit, done) as display:

        def both(now: int, total: int, text: str) -> None:
            record(now, total, text)
            display(now, total, text)

        yield both


def read_status(folder: RunFolder) -> dict[str, StageStatus]:
    """The stages that were begun, in the order in which they were."""
    try:
        stages = {name: StageStatus(**fields) for name, fields in read_state(folder.status).items()}
    except TypeError:
        return {}
    return dict(sorted(stages.items(), key=lambda item: item[1].began))


def status_lines(run: AnyPath, now: float) -> list[str]:
    """A line for each stage of a run, then those of the runs in its folder, such as folds.

    Parameters
    ----------
    run : Place
    now : float
        Seconds since 1970.

    Raises
    ------
    NotReadyError
        No stage was ever begun here.
    """
    lines = []
    for path in [run, *(path.parent for path in matching(run, "*/status.json"))]:
        prefix = "" if path == run else f"{path.name}: "
        lines += [f"{prefix}{_line(name, stage, now)}" for name, stage in read_status(RunFolder(path)).items()]
    if not lines:
        raise NotReadyError(str(run), "no stage was begun here", "Give the folder that the experiment names as out")
    return lines


def _line(name: str, stage: StageStatus, now: float) -> str:
    done = f"{stage.done:,} of {stage.total:,} {stage.unit}" if stage.total else "starting"
    text = f" · {stage.text}" if stage.text else ""
    spent = seconds_text(stage.seen - stage.began)
    if stage.state == "working" and now - stage.seen > SILENT_S:
        who = f"process {stage.process} on {stage.host}"
        silence = f"no sign of life of {who} for {seconds_text(now - stage.seen)}"
        return f"{name}: silent, {done}{text} · {silence}; if it ended, the same command goes on"
    if stage.state == "working":
        rate = f", {rate_text(stage.rate, stage.unit)}" if stage.rate > 0 else ""
        left = f", {seconds_text(stage.left_s)} left" if stage.left_s is not None else ""
        return f"{name}: working for {spent}, {done}{rate}{left}{text}"
    error = f" · {stage.error}" if stage.error else ""
    return f"{name}: {stage.state} after {spent}, {done}{text}{error}"
