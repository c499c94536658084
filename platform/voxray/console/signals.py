"""A process that is asked to end: it does so when what it has done can be kept."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Interrupted(KeyboardInterrupt):
    """Work that ended because it was asked to; what it had done is kept."""


def never_stop() -> bool:
    """Nobody asks."""
    return False


@contextmanager
def catch_sigterm() -> Iterator[Callable[[], bool]]:
    """For the time of the block, note SIGTERM instead of dying of it; gives what tells whether it came.

    Only the main thread may do so; elsewhere nothing is noted.

    Raises
    ------
    Stopped
        It came, and yet the block ran to its end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield never_stop
        return
    asked = threading.Event()
    before = signal.signal(signal.SIGTERM, lambda *_: asked.set())
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGTERM, before)
    if asked.is_set():
        raise Interrupted
