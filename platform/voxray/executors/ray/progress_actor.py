"""How far work in other processes is, and what went wrong there, in its own words."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from voxray.console.progress import OnProgress
from voxray.console.signals import never_stop
from voxray.errors import VoxrayError

POLL_S = 0.5


@ray.remote(num_cpus=0)
class ProgressActor:
    """Workers write on it, the driver reads.

    Each worker has a line of its own; what the driver shows is their sum.
    """

    def __init__(self) -> None:
        self.lines: dict[str, tuple[int, int, str]] = {}
        self.problem: tuple[str, tuple[str, ...]] | None = None
        self.stopping = False

    def ask_to_stop(self) -> None:
        """Tell the workers that look here to end."""
        self.stopping = True

    def is_stopping(self) -> bool:
        """Whether they are to end."""
        return self.stopping

    def write(self, worker: str, done: int, total: int, text: str) -> None:
        """Replace a worker's line."""
        self.lines[worker] = done, total, text

    def report_error(self, kind: str, words: tuple[str, ...]) -> None:
        """Leave an error in its own words: Ray would wrap it beyond recognition."""
        self.problem = kind, words

    def read(self) -> tuple[int, int, str] | None:
        """Sums of what is done and to do, and one worker's text."""
        if not self.lines:
            return None
        done, total, texts = zip(*self.lines.values(), strict=True)
        return sum(done), sum(total), texts[-1]

    def read_problem(self) -> tuple[str, tuple[str, ...]] | None:
        """The error that was left, if any."""
        return self.problem


class ProgressReporter:
    """A worker's side of a board; writes now and then, not at every step."""

    def __init__(self, board: Any, worker: str) -> None:
        self.board, self.worker = board, worker
        self.last = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        """Write how far this worker is."""
        if time.monotonic() - self.last > POLL_S or done == total:
            self.last = time.monotonic()
            self.board.write.remote(self.worker, done, total, text)

    def report_error(self, error: VoxrayError) -> None:
        """Leave an error for the driver."""
        ray.get(self.board.report_error.remote(type(error).__name__, error.args))


@contextmanager
def follow_progress(on_progress: OnProgress, asked: Callable[[], bool] = never_stop) -> Iterator[Any]:
    """A board whose changes are shown for the time of the block; `asked` says when its workers are to stop."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # Beside the driver: a board on another node could be lost with it.
    board = ProgressActor.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    stop = threading.Event()

    def follow() -> None:
        shown = None
        while True:
            last = stop.wait(POLL_S)
            try:
                if asked():
                    board.ask_to_stop.remote()
                state = ray.get(board.read.remote())
            except ray.exceptions.RayError:  # the cluster is gone; the work itself will say why
                return
            if state != shown:
                shown = state
                on_progress(*state)
            if last:
                return

    viewer = threading.Thread(target=follow, daemon=True)
    viewer.start()
    try:
        yield board
    finally:
        stop.set()
        viewer.join()


def failure_row(error: VoxrayError) -> str:
    """An error as text for a row: it keeps its words, and the tasks beside it go on."""
    return "\0".join([type(error).__name__, *error.args])


def raise_failure(row: dict[str, Any]) -> None:
    """Raise the error that a row holds under ``error``, if it holds one."""
    if row["error"]:
        kind, *words = row["error"].split("\0")
        raise _kinds().get(kind, VoxrayError)(*words)


def _kinds() -> dict[str, type[VoxrayError]]:
    found: dict[str, type[VoxrayError]] = {}
    waiting: list[type[VoxrayError]] = [VoxrayError]
    while waiting:
        kind = waiting.pop()
        found[kind.__name__] = kind
        waiting += kind.__subclasses__()
    return found


def original_error(board: Any, otherwise: VoxrayError) -> VoxrayError:
    """The error that a worker left on the board, or else the given one."""
    problem = ray.get(board.read_problem.remote())
    if problem is None:
        return otherwise
    kind, words = problem
    return _kinds().get(kind, VoxrayError)(*words)
