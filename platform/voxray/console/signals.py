"""SIGTERM: a process stops at the next point where its work can be saved."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(KeyboardInterrupt):
    """Work stopped on request; what it had finished is saved."""


def never_stop() -> bool:
    """The `stop` function of work that is never interrupted: False."""
    return False


@contextmanager
def catch_sigterm() -> Iterator[Callable[[], bool]]:
    """Record SIGTERM for the time of the block instead of ending; yields a function that returns whether it arrived.

    Python allows this in the main thread only; in others the function returns False.

    Raises
    ------
    Interrupted
        The signal arrived, and the block ran to its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield never_stop
        return
    received = threading.Event()
    handler = signal.signal(signal.SIGTERM, lambda *_: received.set())
    try:
        yield received.is_set
    finally:
        signal.signal(signal.SIGTERM, handler)
    if received.is_set():
        raise Interrupted
