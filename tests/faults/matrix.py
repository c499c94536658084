"""The kill matrix: each stage × each file × each fault, and what has to come of it."""

import itertools
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from faults.driver import FULL, KILLS, TERM
from faults.names import LONE_CLASS, ROWS, SEARCH_RECORDS, SHARDS, TRIAL_FILES, entry_of
from faults.processes import Drivers, Ended
from faults.remedies import apply_remedy
from faults.results import compare, files_of, results
from faults.scenes import STAGES, Stage, write_scene

DAMAGES = ("absent", "empty", "truncated", "garbage", "other")  # "other" is the file of another run
FINISHED, UNFINISHED = "finished", "unfinished"  # when a file is damaged: after the stage, or when it was killed
REMEDIES = 3  # that messages may name, one after another
SIGTERM_CODE = 143
NO_PROCESS = 2**22 + 1  # above the largest id that Linux gives


@dataclass(frozen=True, order=True)
class Case:
    """One fault.

    Attributes
    ----------
    stage : str
        Key of `STAGES`.
    kind : str
        One of `KILLS`, `TERM`, `FULL` or `DAMAGES`.
    file : str
        Relative to the folder of the scene.
    when : str
        Which write of the file is struck, from 1; or `FINISHED` or `UNFINISHED`.
    """

    stage: str
    kind: str
    file: str
    when: str

    def __str__(self) -> str:
        return ":".join((self.stage, self.kind, self.file, self.when))

    @classmethod
    def parse(cls, text: str) -> "Case":
        """The case of its text."""
        return cls(*text.split(":"))

    @property
    def entry(self) -> str:
        """The file's name in the lists of the program."""
        return entry_of(self.file)


class Lab:
    """Folders in which stages begin and end, and the outcome of each case.

    Parameters
    ----------
    folder : Path
    workers : int
        Cases that run at a time.
    """

    def __init__(self, folder: Path, workers: int) -> None:
        self.folder, self.drivers, self.workers = folder, Drivers(workers), workers
        self.lock = threading.RLock()
        self.made: dict[tuple[Any, ...], Any] = {}
        self.numbers = itertools.count()

    def _once(self, make: Callable[..., Any], *key: Any) -> Any:
        with self.lock:
            if (make.__name__, *key) not in self.made:
                self.made[make.__name__, *key] = make(*key)
            return self.made[make.__name__, *key]

    def before(self, name: str, seed: int = 0) -> Path:
        """The folder of a stage that has not begun."""
        return self._once(self._before, name, seed)

    def after(self, name: str, seed: int = 0) -> tuple[Path, Ended]:
        """The folder of a finished stage, and how it ended."""
        return self._once(self._after, name, seed)

    def middle(self, name: str, seed: int = 0) -> Path:
        """The folder of a stage that was killed when its last file was to get its name."""
        return self._once(self._middle, name, seed)

    def expected(self, name: str) -> dict[str, Any]:
        """The results of an undisturbed stage."""
        return self._once(self._expected, name)

    def _scene(self, scene: str, seed: int) -> Path:
        write_scene(path := self.folder / f"scene_{scene}_{seed}", scene, seed)
        return path

    def _before(self, name: str, seed: int) -> Path:
        stage = STAGES[name]
        if not stage.earlier:
            return self._once(self._scene, stage.scene, seed)
        for other_name, other in STAGES.items():
            if _is_before(other, stage):
                return self.after(other_name, seed)[0]
        raise AssertionError(f"no stage ends where {name} begins")

    def _after(self, name: str, seed: int) -> tuple[Path, Ended]:
        path = self.copy(self.before(name, seed), f"after_{name}_{seed}")
        ended = self.drivers.run(path, STAGES[name].command)
        assert ended.code == 0, ended
        return path, ended

    def _middle(self, name: str, seed: int) -> Path:
        path = self.copy(self.before(name, seed), f"middle_{name}_{seed}")
        writes = self.after(name, seed)[1].writes
        last = next(file for file in reversed(writes) if not file.endswith(("status.json", "stages.json")))
        self.drivers.run(path, STAGES[name].command, {"moment": "before", "file": last, "write": 1})
        return path

    def _expected(self, name: str) -> dict[str, Any]:
        return results(self.after(name)[0])

    def copy(self, template: Path, name: str) -> Path:
        """A copy of a folder; its data are only read, and not copied."""
        target = self.folder / name
        shutil.copytree(template, target, ignore=shutil.ignore_patterns("data"), symlinks=True)
        (target / "data").symlink_to((template / "data").resolve())
        return target

    def cases(self, name: str) -> list[Case]:
        """All cases of a stage: of each name in the lists of files the first and the last file."""
        path, ended = self.after(name)
        strikes = [
            Case(name, kind, file, str(write))
            for file in _first_and_last(ended.writes)
            for write in sorted({1, ended.writes.count(file)})
            for kind in (*KILLS, TERM, FULL)
        ]
        damages = [
            Case(name, kind, file, when)
            for folder, when in ((path, FINISHED), (self.middle(name), UNFINISHED))
            for file in _first_and_last(files_of(folder))
            for kind in DAMAGES
            if not TRIAL_FILES.match(file)
            and not (kind == "other" and SEARCH_RECORDS.fullmatch(file))
            and not (when == UNFINISHED and kind in ("empty", "truncated", "garbage") and LONE_CLASS.fullmatch(file))
        ]
        return [case for case in strikes + damages if re.match(STAGES[name].files, case.file)]

    def problems(self, cases: Sequence[Case]) -> dict[str, str]:
        """The cases that fail, with what is wrong."""
        for stage in {case.stage for case in cases}:
            self.expected(stage)
        with ThreadPoolExecutor(self.workers) as pool:
            outcomes = list(pool.map(self.problem, cases))
        return {str(case): problem for case, problem in zip(cases, outcomes, strict=True) if problem}

    def problem(self, case: Case) -> str:
        """What is wrong with the outcome of a case; empty if nothing is."""
        with self.lock:
            name = f"case_{next(self.numbers)}"
        if case.when.isdecimal():
            folder = self.copy(self.before(case.stage), name)
            problem = self._strike(case, folder)
        else:
            folder = self.copy(self.after(case.stage)[0] if case.when == FINISHED else self.middle(case.stage), name)
            problem = self._damage(case, folder)
        _disown_unfinished_files(folder)
        problem = problem or self._check_resumed(case, folder)
        shutil.rmtree(folder)
        return problem.replace(f"{folder}/", "")

    def _strike(self, case: Case, folder: Path) -> str:
        fault = {"moment": case.kind, "file": case.file, "write": int(case.when)}
        ended = self.drivers.run(folder, STAGES[case.stage].command, fault)
        if case.kind in KILLS:
            return "" if ended.code == -9 else f"the fault did not strike: exit code {ended.code}"
        if case.kind == TERM:
            return _check_terminated(ended)
        return _check_full(case, ended)

    def _damage(self, case: Case, folder: Path) -> str:
        path = folder / case.file
        content = path.read_bytes()
        path.unlink()
        if case.kind == "other":
            other = self.after(case.stage, 1)[0] if case.when == FINISHED else self.middle(case.stage, 1)
            if (other / case.file).exists():
                shutil.copy(other / case.file, path)
        elif case.kind != "absent":
            noise = np.random.default_rng(len(content)).bytes(len(content))
            damaged = {"empty": b"", "truncated": content[: len(content) // 2], "garbage": noise}
            path.write_bytes(damaged[case.kind])
        return ""

    def _check_resumed(self, case: Case, folder: Path) -> str:
        """Run the command until it succeeds, with the remedies that its messages name; then compare the results."""
        if problem := self._run(folder, STAGES[case.stage].command):
            return problem
        expected, actual = dict(self.expected(case.stage)), results(folder)
        if case.file not in self.after(case.stage)[1].writes:
            # It was made by an earlier command: this one need not repair it where it has nothing to do.
            expected.pop(case.file, None)
            actual.pop(case.file, None)
        problem = compare(expected, actual)
        # Reading all shards would take minutes: those that were written earlier are checked by those that read them,
        # and so is whether they fit an index or a part that is whole, but of other data.
        is_read_later = case.entry in SHARDS or (case.kind == "other" and case.entry in ROWS)
        if problem and case.kind in DAMAGES and is_read_later:
            return self._check_next(case, folder)
        return problem

    def _check_next(self, case: Case, folder: Path) -> str:
        """What is wrong with a run on a damaged shard; it must find it, and repair must help."""
        following = "run-masks" if STAGES[case.stage].scene == "masks" else "run"
        command = STAGES[following].command
        shutil.rmtree(folder / "run", ignore_errors=True)
        if self.drivers.run(folder, command).code == 0:
            return "a damaged store was trained on"
        return self._run(folder, command) or compare(self.expected(following), results(folder))

    def _run(self, folder: Path, command: Sequence[str]) -> str:
        lines: list[str] = []
        for _ in range(REMEDIES + 1):
            ended = self.drivers.run(folder, command)
            if ended.problem:
                return " after: ".join([ended.problem, *lines])
            if ended.code == 0:
                return ""
            lines.append(ended.line)
            if "--overwrite" in ended.line:
                command = (*command, "--overwrite")
                continue

            def run(remedy: Sequence[str]) -> None:
                if problem := self.drivers.run(folder, remedy).problem:
                    lines.append(problem)

            if not apply_remedy(ended.line, folder, run):
                return f"no remedy that can be applied: {ended.line}"
        return f"the remedies do not help: {' | '.join(dict.fromkeys(lines))}"

    def close(self) -> None:
        """End the processes."""
        self.drivers.close()


def _first_and_last(files: Iterable[str]) -> Iterator[str]:
    by_entry: dict[str, list[str]] = {}
    for file in files:
        by_entry.setdefault(entry_of(file), []).append(file)
    for names in by_entry.values():
        yield from dict.fromkeys([names[0], names[-1]])


def _disown_unfinished_files(folder: Path) -> None:
    """Give the unfinished files of killed processes the id of no process: theirs may be that of another one by now."""
    for file in folder.rglob(".unfinished.*"):
        host, _, *rest = file.name.removeprefix(".unfinished.").split(".")
        file.rename(file.with_name(".".join([".unfinished", host, str(NO_PROCESS), *rest])))


def _is_before(other: Stage, stage: Stage) -> bool:
    return other.scene == stage.scene and (*other.earlier, other.command) == stage.earlier


def _check_terminated(ended: Ended) -> str:
    if ended.code == 0:  # it was about to end
        return ""
    if ended.code != SIGTERM_CODE or "Traceback" in ended.err:
        return f"SIGTERM: exit code {ended.code}, {ended.line}"
    return "" if "Resume with" in ended.line else f"SIGTERM: {ended.line}"


def _check_full(case: Case, ended: Ended) -> str:
    if ended.code == 0:
        # A status that cannot be written stops no stage.
        return "" if case.entry == "run:status.json" else "a full disk ended with exit code 0"
    return ended.problem or ("" if "disk is full" in ended.line else f"a full disk: {ended.line}")
