"""Progress and errors of work in other processes."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from voxray import errors
from voxray.console.failures import as_voxray_error, print_warning
from voxray.console.progress import OnProgress
from voxray.console.signals import never_stop
from voxray.errors import VoxrayError

POLL_S = 0.5


@ray.remote(num_cpus=0)
class ProgressActor:
    """Workers write their progress here, the driver reads the sum of it."""

    def __init__(self) -> None:
        self.progress: dict[str, tuple[int, int, str]] = {}
        self.error: tuple[str, tuple[str, ...]] | None = None
        self.stopping = False
        self.warnings: list[str] = []

    def ask_to_stop(self) -> None:
        """Ask the workers to stop."""
        self.stopping = True

    def is_stopping(self) -> bool:
        """Whether the workers are asked to stop."""
        return self.stopping

    def write(self, worker: str, done: int, total: int, text: str) -> None:
        """Replace the progress of a worker."""
        self.progress[worker] = done, total, text

    def warn(self, text: str) -> None:
        """Keep a warning for the terminal of the driver."""
        self.warnings.append(text)

    def take_warnings(self) -> list[str]:
        """The warnings since the last call."""
        taken, self.warnings = self.warnings, []
        return taken

    def report_error(self, kind: str, arguments: tuple[str, ...]) -> None:
        """Keep an error by its class and arguments; Ray would wrap it in one of its own."""
        self.error = kind, arguments

    def read(self) -> tuple[int, int, str] | None:
        """Units that are done and units in total, both summed over the workers, and the text of one worker."""
        if not self.progress:
            return None
        done, total, texts = zip(*self.progress.values(), strict=True)
        return sum(done), sum(total), texts[-1]

    def read_error(self) -> tuple[str, tuple[str, ...]] | None:
        """The reported error, if any."""
        return self.error


class ProgressReporter:
    """A worker's side of a `ProgressActor`; writes every half second, not at every step."""

    def __init__(self, actor: Any, worker: str) -> None:
        self.actor, self.worker = actor, worker
        self.last = 0.0

    def __call__(self, done: int, total: int, text: str) -> None:
        """Write the progress of this worker."""
        if time.monotonic() - self.last > POLL_S or done == total:
            self.last = time.monotonic()
            self.actor.write.remote(self.worker, done, total, text)

    def warn(self, text: str) -> None:
        """Print a warning on the terminal of the driver."""
        ray.get(self.actor.warn.remote(text))

    def report_error(self, error: Exception, where: str) -> None:
        """Keep an error for the driver; `where` names what was at work, if the error itself does not."""
        known = as_voxray_error(error, where)
        ray.get(self.actor.report_error.remote(type(known).__name__, known.args))


@contextmanager
def follow_progress(on_progress: OnProgress, stop: Callable[[], bool] = never_stop) -> Iterator[Any]:
    """A `ProgressActor` whose changes go to `on_progress` for the time of the block.

    Parameters
    ----------
    on_progress : callable
    stop : callable
        Where it returns True, the workers are asked to stop.
    """
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    # Beside the driver: an actor on another node could be lost with that node.
    actor = ProgressActor.options(scheduling_strategy=here).remote()  # type: ignore[attr-defined]
    finished = threading.Event()

    def follow() -> None:
        shown = None
        while True:
            last = finished.wait(POLL_S)
            try:
                if stop():
                    actor.ask_to_stop.remote()
                state, warnings = ray.get([actor.read.remote(), actor.take_warnings.remote()])
            except ray.exceptions.RayError:  # the cluster is lost; the work itself raises the error
                return
            for text in warnings:
                print_warning(text)
            if state != shown:
                shown = state
                on_progress(*state)
            if last:
                return

    follower = threading.Thread(target=follow, daemon=True)
    follower.start()
    try:
        yield actor
    finally:
        finished.set()
        follower.join()


def failure_row(error: Exception, where: str) -> str:
    """An error as text in a row of Ray Data, so that the tasks beside it are not stopped.

    `where` names what was at work, if the error itself does not.
    """
    known = as_voxray_error(error, where)
    return "\0".join([type(known).__name__, *known.args])


def raise_failure(row: dict[str, Any]) -> None:
    """Raise the error that a row has under ``error``, if any."""
    if row["error"]:
        kind, *arguments = row["error"].split("\0")
        raise _rebuild(kind, arguments)


def original_error(actor: Any, otherwise: VoxrayError) -> VoxrayError:
    """The error that a worker reported, or else the given one."""
    error = ray.get(actor.read_error.remote())
    return otherwise if error is None else _rebuild(*error)


def cause(error: Exception) -> str:
    """The cause in the text of an error of Ray: the last line of a traceback, else the first line."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[-1 if "Traceback" in text or "ray::" in text else 0]


def _rebuild(kind: str, arguments: Sequence[str]) -> VoxrayError:
    error: VoxrayError = getattr(errors, kind)(*arguments)
    return error
