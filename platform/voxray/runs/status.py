"""The status of a run: a small file in its folder, which each stage updates every two seconds while it works."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from voxray.config.rounds import FIRST
from voxray.console.failures import describe, save_traceback
from voxray.console.progress import OnProgress, Pace, progress, rate_text
from voxray.console.signals import deferred
from voxray.console.units import seconds_text
from voxray.errors import NotReadyError, StoreError, WorkError
from voxray.runs.folder import RunFolder
from voxray.runs.records import read_state
from voxray.storage.atomic import remove_unfinished, write_json
from voxray.storage.paths import AnyPath, exists, matching, relative_path

BEAT_S = 2.0
SILENT_S = 30.0  # without an update, after which a stage counts as silent
State = Literal["working", "finished", "failed", "interrupted"]
ORDER = ("ingest", "train", "search", "cut", "evaluate", "report")  # each builds on those before it


@dataclass(frozen=True)
class StageStatus:
    """Progress of a stage at its last update.

    Attributes
    ----------
    state : State
    done, total : int
        In units; the total is 0 while it is unknown.
    unit : str
        Plural, such as ``shards``.
    rate : float
        Units per second.
    left_s : float or None
        Remaining seconds; None if unknown.
    text : str
        More about the progress, such as metrics, or the number of quarantined samples.
    began, seen : float
        Start of the stage and time of the update, in seconds since 1970.
    process : int
    host : str
        That run the stage.
    error : str
        The message of a failed stage, else empty.
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

    __pydantic_config__ = ConfigDict(allow_inf_nan=False)


STATUS = TypeAdapter(StageStatus)


@contextmanager
def heartbeat(folder: RunFolder, stage: str, unit: str, done: int = 0) -> Iterator[OnProgress]:
    """Update the status of a stage for the time of the block; yields a function of (done, total, text).

    A thread writes the status, with or without progress, so that a slow stage differs from a killed one. A status that
    cannot be read or written does not stop the stage.
    """
    outdated = ORDER[ORDER.index(stage) :] if stage in ORDER else (stage,)
    others: dict[str, Any] = {}
    with suppress(OSError, WorkError):
        others = {name: asdict(status) for name, status in read_status(folder).items() if name not in outdated}
    pace, began, text, finished = Pace(done), time.time(), "", threading.Event()

    def on_progress(now: int, total: int, words: str) -> None:
        nonlocal text
        pace.move(now, total)
        text = words

    def current() -> StageStatus:
        return StageStatus(
            *("working", pace.now, pace.total, unit, pace.rate, pace.left_s, text),
            *(began, time.time(), os.getpid(), socket.gethostname()),
        )

    def write(status: StageStatus) -> None:
        with suppress(OSError, WorkError):
            write_json(folder.status, {**others, stage: asdict(status)})

    def beat() -> None:
        write(current())
        while not finished.wait(BEAT_S):
            write(current())

    with suppress(OSError, WorkError):
        folder.traceback.unlink(missing_ok=True)  # of an earlier failure
        remove_unfinished(folder.path, "")
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
        state, problem = "failed", describe(error)
        save_traceback(error, stage, folder.traceback)
        raise
    finally:
        with deferred():
            finished.set()
            beating.join()
            write(replace(current(), state=state, left_s=None, error=problem))


@contextmanager
def reported(folder: RunFolder, stage: str, unit: str, done: int = 0) -> Iterator[OnProgress]:
    """Show the progress of a stage on the terminal, and update its status."""
    with heartbeat(folder, stage, unit, done) as record, progress(stage, unit, done) as display:

        def both(now: int, total: int, text: str) -> None:
            record(now, total, text)
            display(now, total, text)

        yield both


def confirm_finished(folder: RunFolder, stage: str) -> None:
    """Let the status of a stage that is reused say that it is finished: its process may have been killed before."""
    with suppress(OSError, WorkError):
        remove_unfinished(folder.path, "")
        stages = read_status(folder)
        if stage in stages and stages[stage].state != "finished":
            total = stages[stage].total
            stages[stage] = replace(stages[stage], state="finished", done=total, left_s=None, error="")
            write_json(folder.status, {name: asdict(status) for name, status in stages.items()})


def read_status(folder: RunFolder) -> dict[str, StageStatus]:
    """The status of each stage that was started, in the order of their starts; what cannot be read is left out."""
    stages: dict[str, StageStatus] = {}
    for name, content in read_state(folder.status).items():
        with suppress(ValidationError):
            stages[name] = STATUS.validate_python(content)
    return dict(sorted(stages.items(), key=lambda item: item[1].began))


def status_lines(run: AnyPath, now: float) -> list[str]:
    """A line for each stage of a run, then those of the runs in its folder, such as folds and their first rounds.

    Parameters
    ----------
    run : AnyPath
    now : float
        Seconds since 1970.

    Raises
    ------
    NotReadyError
        No stage was started in this folder.
    StoreError
        The status cannot be read.
    """
    lines = []
    inner = [path.parent for pattern in ("*/status.json", f"*/{FIRST}/status.json") for path in matching(run, pattern)]
    for path in [run, *sorted(inner)]:
        prefix = "" if path == run else f"{relative_path(run, path)}: "
        lines += [f"{prefix}{_line(name, stage, now)}" for name, stage in read_status(RunFolder(path)).items()]
    if not lines:
        status = RunFolder(run).status
        if exists(status):
            raise StoreError(str(status), "cannot be read", "The next stage that runs writes it again")
        raise NotReadyError(str(run), "no stage was started in this folder", "Name the experiment's out folder")
    return lines


def _line(name: str, stage: StageStatus, now: float) -> str:
    done = f"{stage.done:,} of {stage.total:,} {stage.unit}" if stage.total else "starting"
    text = f" · {stage.text}" if stage.text else ""
    spent = seconds_text(stage.seen - stage.began)
    if stage.state == "working" and now - stage.seen > SILENT_S:
        who = f"process {stage.process} on {stage.host}"
        silence = f"no update from {who} for {seconds_text(now - stage.seen)}"
        return f"{name}: silent, {done}{text} · {silence}. If it ended, re-run the same command to resume"
    if stage.state == "working":
        rate = f", {rate_text(stage.rate, stage.unit)}" if stage.rate > 0 else ""
        left = f", {seconds_text(stage.left_s)} left" if stage.left_s is not None else ""
        return f"{name}: working for {spent}, {done}{rate}{left}{text}"
    error = f" · {stage.error}" if stage.error else ""
    return f"{name}: {stage.state} after {spent}, {done}{text}{error}"
