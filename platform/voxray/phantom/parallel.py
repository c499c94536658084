"""The scans of a data set, written here or in several processes."""

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from voxray.errors import ConfigError

Result = TypeVar("Result")
OnWritten = Callable[[int, int], None]  # scans written, all scans


def in_any_order(write: Callable[..., Result], jobs: Sequence[tuple[object, ...]], workers: int) -> Iterator[Result]:
    """Call `write` for the arguments of each job and yield the results as they come.

    More than one worker starts new interpreters, so the calling script needs ``if __name__ == "__main__"``.
    """
    if workers <= 1:
        yield from (write(*job) for job in jobs)
        return
    # A fork of a process with threads (torch, ray) may deadlock.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(write, *job) for job in jobs]):
            yield future.result()


def check_count(where: str, setting: str, count: int) -> None:
    """Raise ConfigError unless there is something to write."""
    if count < 1:
        raise ConfigError(where, f"{setting}: expected 1 or more, got {count}", f"Raise {setting}")
