"""Processes that run commands with faults."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from faults import driver

TIMEOUT_S = 300


@dataclass(frozen=True)
class Ended:
    """How a command ended: its exit code, its output, and what it did with files.

    `events` are ``["flush", file, thread]`` and ``["rename", unfinished file, file, thread]``.
    """

    code: int
    out: str
    err: str
    events: tuple[tuple[Any, ...], ...]

    @property
    def writes(self) -> tuple[str, ...]:
        """The files that got their names, in this order."""
        return tuple(event[2] for event in self.events if event[0] == "rename")

    @property
    def line(self) -> str:
        """The last line on stderr."""
        return (self.err.strip().splitlines() or [""])[-1]

    @property
    def problem(self) -> str:
        """What is wrong with its end, whatever the outcome; empty if nothing is."""
        if "Traceback" in self.err or self.code not in (0, 1, 2):
            return f"exit code {self.code}, {self.line}"
        return ""


class Drivers:
    """Several warm processes, each of which runs one command at a time."""

    def __init__(self, count: int) -> None:
        self.idle: SimpleQueue[subprocess.Popen[str]] = SimpleQueue()
        program = [sys.executable, "-P", driver.__file__]
        pipes: Any = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "encoding": "utf-8"}
        self.processes = [subprocess.Popen(program, **pipes) for _ in range(count)]
        for process in self.processes:
            self.idle.put(process)

    def run(
        self,
        folder: Path,
        command: Sequence[str],
        fault: Mapping[str, Any] | None = None,
        *,
        term_s: float | None = None,
        ids: Mapping[str, Any] | None = None,
        name: str = "",
    ) -> Ended:
        """Run a command in a folder.

        Parameters
        ----------
        folder : Path
        command : sequence of str
        fault : mapping, optional
            See `driver.Writes`.
        term_s : float, optional
            Seconds until SIGTERM.
        ids : mapping, optional
            ``process`` and ``host``.
        name : str
            Of this process among those that work in the folder at the same time.
        """
        output = folder.with_name(f"{folder.name}_output{name}")
        log = Path(f"{output}.log")
        log.unlink(missing_ok=True)
        request = {
            "folder": str(folder),
            "command": list(command),
            "fault": dict(fault or {}),
            "output": str(output),
            "timeout_s": TIMEOUT_S,
            "term_s": term_s,
            "ids": dict(ids or {}),
        }
        process = self.idle.get()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        code = int(process.stdout.readline())
        self.idle.put(process)
        out, err = (Path(f"{output}.{end}").read_text(encoding="utf-8", errors="replace") for end in ("out", "err"))
        lines = log.read_text().splitlines() if log.exists() else []
        return Ended(code, out, err, tuple(tuple(json.loads(line)) for line in lines))

    def close(self) -> None:
        """End all processes."""
        for process in self.processes:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.close()
            process.wait()
            process.stdout.close()
