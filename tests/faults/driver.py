"""A warm process that runs commands of Voxray in forked children, each with one fault at one write of one file.

It reads a request as a line of JSON and answers with a line of JSON, the exit code. It imports all that commands need
and starts no thread, so that a child is ready in milliseconds. The faults strike where every file gets its final name:
at `os.replace`, and where its content is written: in `atomic_write`; the program itself needs no hook.
"""

import contextlib
import errno
import json
import os
import signal
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

KILLS = ("before", "within", "after")  # SIGKILL: before the file gets its name, with half of its bytes, after that
TERM, FULL, PAUSE = "term", "full", "pause"  # SIGTERM; the disk is full; wait until a file appears
HERE = "/proc/self/cwd"
WRITE_SHARD = "write-shard"  # a command of this module alone: a task without the lock of its store
RENAME, SYNC = os.replace, os.fsync


class Writes:
    """Counts the writes of each file below the working directory, and strikes at one of them.

    Parameters
    ----------
    fault : dict
        ``moment`` (of `KILLS`, or another one), ``file`` (relative to the working directory) and ``write`` (1, 2, …);
        for a pause also ``until``, the file to wait for.
    log : Path
        Receives a line of JSON for each flush and each rename: which of both, the file and the thread.
    """

    def __init__(self, fault: dict[str, Any], log: Path) -> None:
        self.fault, self.log, self.root, self.process = fault, log, Path.cwd(), os.getpid()
        self.renames: Counter[str] = Counter()
        self.begun: Counter[str] = Counter()

    def _name(self, path: Any) -> str | None:
        whole = Path(os.fsdecode(path).replace(HERE, str(self.root))).absolute()
        return whole.relative_to(self.root).as_posix() if whole.is_relative_to(self.root) else None

    def _record(self, *event: str) -> None:
        with self.log.open("a") as file:
            file.write(json.dumps([*event, threading.get_ident()]) + "\n")

    def _is_struck(self, moment: str, name: str, write: int) -> bool:
        return (self.fault.get("moment"), self.fault.get("file"), self.fault.get("write")) == (moment, name, write)

    def replace(self, source: Any, target: Any) -> None:
        """What `os.replace` does, with the fault."""
        name = self._name(target)
        if name is None:
            RENAME(source, target)
            return
        self.renames[name] += 1
        moments = [moment for moment in (*KILLS, TERM, PAUSE) if self._is_struck(moment, name, self.renames[name])]
        self._record("rename", str(self._name(source)), name)
        match moments:
            case ["within"]:
                os.truncate(source, Path(source).stat().st_size // 2)
                os.kill(self.process, signal.SIGKILL)
            case ["before"]:
                os.kill(self.process, signal.SIGKILL)
            case ["term"]:
                os.kill(self.process, signal.SIGTERM)
            case ["pause"]:
                self._pause()
        RENAME(source, target)
        if moments == ["after"]:
            os.kill(self.process, signal.SIGKILL)

    def fsync(self, descriptor: int) -> None:
        """What `os.fsync` does."""
        if name := self._name(Path(f"/proc/self/fd/{descriptor}").readlink()):
            self._record("flush", name)
        SYNC(descriptor)

    def _pause(self) -> None:
        until = Path(self.fault["until"])
        until.with_suffix(".paused").touch()
        while not until.exists():
            time.sleep(0.002)

    def fill_disk(self, path: Path, unfinished: Path) -> bool:
        """Let writes to an unfinished file fail as on a full disk, if the fault is that; whether it is."""
        name = self._name(path)
        if name is None:
            return False
        self.begun[name] += 1
        if struck := self._is_struck(FULL, name, self.begun[name]):
            unfinished.unlink(missing_ok=True)
            unfinished.symlink_to("/dev/full")
        return struck


class Current:
    """The faults of this process."""

    writes: Writes | None = None


def warm_up() -> None:
    """Import what commands need."""
    _watch_writes()  # before any other module imports `atomic_write`
    import PIL.Image
    import torch
    import torch._dynamo

    import voxray.api
    import voxray.cli.app
    import voxray.reporting.inspection.page
    import voxray.reporting.run.fold_page
    import voxray.reporting.run.page
    import voxray.reporting.run.wandb_media
    import voxray.reporting.search.page
    import voxray.stages.inspect
    import voxray.stages.pipeline
    import voxray.stages.predict
    import voxray.stages.tune
    import voxray.tracking.wandb_run  # noqa: F401

    PIL.Image.init()
    torch.set_num_threads(1)
    _tune_in_this_process()


def _watch_writes() -> None:
    """Let every `atomic_write` ask the current `Writes` whether its disk is full."""
    from voxray.storage import atomic

    plain = atomic.atomic_write

    @contextlib.contextmanager
    def watched(path: Any) -> Iterator[Path]:
        with plain(path) as unfinished:
            struck = Current.writes is not None and Current.writes.fill_disk(path, unfinished)
            yield unfinished
            if struck:  # but the writer put a file of its own there
                unfinished.unlink(missing_ok=True)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    atomic.atomic_write = watched


def _tune_in_this_process() -> None:
    """Let ``tune`` train its trials one after another in this process: a search needs Ray, which takes seconds."""
    from voxray.cli import search
    from voxray.executors.local import LocalExecutor
    from voxray.runs.folder import run_folder
    from voxray.search.plan import trial_experiments
    from voxray.search.study import Study
    from voxray.training.fit import fit
    from voxray.training.loop import choose_device

    class TuneExecutor(LocalExecutor):
        def check_trials(self, training: Any) -> None:
            """Trials run here."""

        def run_trials(self, study: Study, on_progress: Any) -> None:
            for done, trial in enumerate(iter(study.ask, None), 1):

                def report(row: dict[str, Any], number: int = trial.number) -> None:
                    study.report(number, row)

                for experiment in trial_experiments(study.search, trial):
                    if not run_folder(experiment).history.exists():
                        fit(experiment, device=choose_device("cpu"), on_progress=lambda *_: None, report=report)
                study.tell(trial.number, "finished")
                on_progress(done, study.search.trials, "")

    search.choose_executor = lambda no_ray: TuneExecutor()


def run_child(request: dict[str, Any]) -> None:
    """Run the command of a request in this process, and end."""
    code = 99
    try:
        os.chdir(request["folder"])
        for number, name in ((1, "out"), (2, "err")):
            target = os.open(f"{request['output']}.{name}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(target, number)
        Current.writes = Writes(request["fault"], Path(f"{request['output']}.log"))
        if request["ids"]:
            _force_ids(**request["ids"])
        os.replace, os.fsync = Current.writes.replace, Current.writes.fsync
        sys.argv = ["voxray", *request["command"]]
        _run_command(request["command"])
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _run_command(command: list[str]) -> None:
    if command[0] == WRITE_SHARD:
        from voxray.store.write import write_shard

        write_shard(Path(command[1]).absolute(), Path(command[2]).absolute(), command[3], int(command[4]))
    else:
        from voxray.cli.app import main

        main(command)


def _force_ids(process: int, host: str) -> None:
    """Give this process the ids of another one, as containers on two hosts may have."""
    import socket

    os.getpid = lambda: process
    socket.gethostname = lambda: host


def wait(child: int, timeout_s: float, term_s: float | None) -> int:
    """The exit code of a child, negative for a signal; a child that takes too long is killed: 124."""
    began = time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        passed = time.monotonic() - began
        if term_s is not None and passed > term_s:
            os.kill(child, signal.SIGTERM)
            term_s = None
        if passed > timeout_s:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return 124
        time.sleep(0.005)


def serve() -> None:
    """Answer requests until the input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    warm_up()
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run_child(request)
        answers.write(f"{wait(child, request['timeout_s'], request['term_s'])}\n")
        answers.flush()


if __name__ == "__main__":
    serve()
