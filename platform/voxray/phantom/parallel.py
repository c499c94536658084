"""The scans of a data set, written here or in several processes."""

import multiprocessing
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

from voxray.errors import ConfigError

Result = TypeVar("Result")
OnWritten = Callable[[int, int], None]  # scans written, all scans


def run_jobs(
    write: Callable[..., Result], jobs: Sequence[tuple[object, ...]], progress: OnWritten | None, workers: int = 1
) -> list[Result]:
    """Call `write` for the arguments of each job; the results are in the order of the jobs.

    More than one worker starts new interpreters, so the calling script needs ``if __name__ == "__main__"``.
    """
    on_written = progress or (lambda done, total: None)
    if workers <= 1:
        results = []
        for job in jobs:
            results.append(write(*job))
            on_written(len(results), len(jobs))
        return results
    # A fork of a process with threads (torch, ray) may deadlock.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        futures = [pool.submit(write, *job) for job in jobs]
        for done, future in enumerate(as_completed(futures), start=1):
            future.result()
            on_written(done, len(jobs))
        return [future.result() for future in futures]


def check_count(where: str, setting: str, count: int) -> None:
    """Raise ConfigError unless there is something to write."""
    if count < 1:
        raise ConfigError(where, f"{setting}: expected 1 or more, got {count}", f"Raise {setting}")
