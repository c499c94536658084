"""SIGINT, SIGTERM and SIGHUP: a process ends where its work is saved."""

import atexit
import ctypes
import os
import signal
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
REPEAT_S = 5.0  # in which further signals do not interrupt the cleanup after the first
Handler = Callable[[int, Any], None]
SOON_S = 0.01
RESTORE_S = 0.002
SIGACTION_BYTES = 512  # more than `struct sigaction` has on any platform


class Interrupted(KeyboardInterrupt):
    """Work stopped on request; what it had finished is saved.

    Parameters
    ----------
    number : int
        The signal that asked for it.
    """

    def __init__(self, number: int = signal.SIGTERM) -> None:
        super().__init__(number)
        self.number = number


def never_stop() -> bool:
    """The `stop` function of work that is never interrupted: False."""
    return False


class _Interrupter:
    """Handles signals for `raise_interrupted`."""

    def __init__(self) -> None:
        self.arrived: list[int] = []
        self.last = -REPEAT_S
        self.ending = False
        self.raised: weakref.ref[Interrupted] | None = None

    def interrupt(self, number: int, frame: object) -> None:  # noqa: ARG002
        """Raise Interrupted, unless the cleanup after an earlier signal may still be at work."""
        self.arrived.append(number)
        if self._is_cleaning_up():
            return
        self.last = time.monotonic()
        error = Interrupted(number)
        # An exception that ceases to exist before the end of the block was swallowed, in a callback from C for example.
        self.raised = weakref.ref(error, lambda _: self._repeat_soon(number))
        try:
            raise error
        finally:
            del error  # the frame would keep it

    def _repeat_soon(self, number: int) -> None:
        if not self.ending:
            timer = threading.Timer(SOON_S, self._repeat, (number,))
            timer.daemon = True
            timer.start()

    def _repeat(self, number: int) -> None:
        if not self.ending:
            self.last = -REPEAT_S
            main_thread = threading.main_thread().ident
            assert main_thread is not None
            signal.pthread_kill(main_thread, number)

    def end(self, number: int, frame: object) -> None:  # noqa: ARG002
        """End the process, unless it is about to end."""
        if not self._is_cleaning_up():
            os._exit(128 + number)

    def _is_cleaning_up(self) -> bool:
        return time.monotonic() - self.last < REPEAT_S


@contextmanager
def raise_interrupted() -> Iterator[list[int]]:
    """Raise Interrupted where a signal arrives in the block; yields the numbers of the signals that arrived.

    The numbers are needed where a library replaces the exception by a KeyboardInterrupt of its own. A signal that is
    ignored, such as SIGHUP under ``nohup``, stays ignored. Where a library swallows the exception, it is raised again.

    After a signal the process is expected to end. Where it does not within `REPEAT_S`, the next signal ends it at once.
    """
    interrupter = _Interrupter()
    atexit.register(_ignore_signals)
    try:
        with _handled(SIGNALS, interrupter.interrupt):
            yield interrupter.arrived
    finally:
        interrupter.ending = True
        if interrupter.arrived:
            _set_handlers(SIGNALS, interrupter.end)


def _ignore_signals() -> None:
    """Python's own end sets the default handlers, which would change the exit code."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


@contextmanager
def catch_termination() -> Iterator[Callable[[], bool]]:
    """Record SIGTERM and SIGHUP in the block instead of ending; yields a function that returns whether one arrived.

    Raises
    ------
    Interrupted
        A signal arrived, and the block ran to its end or raised Interrupted itself.
    """
    arrived: list[int] = []
    with _handled((signal.SIGTERM, signal.SIGHUP), lambda number, _: arrived.append(number)):
        try:
            yield lambda: bool(arrived)
        except Interrupted:
            if not arrived:
                raise
    if arrived:
        raise Interrupted(arrived[0])


@contextmanager
def deferred() -> Iterator[None]:
    """Handle signals that arrive in the block at its end: it is not interrupted.

    Signals that have no handler of Python end the process as ever.
    """
    arrived: list[int] = []
    handled = [number for number in SIGNALS if callable(signal.getsignal(number))]
    try:
        with _handled(handled, lambda number, _: arrived.append(number)):
            yield
    finally:
        for number in arrived:
            signal.raise_signal(number)


@contextmanager
def keep_handlers() -> Iterator[None]:
    """Keep the handlers of signals in a block whose libraries set their own, from Python or from C++.

    Python can set handlers in the main thread only, which the block occupies, so those of the operating system are
    restored by the C library.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    python = {number: signal.getsignal(number) for number in SIGNALS}
    libc, kernel = ctypes.CDLL(None), {number: ctypes.create_string_buffer(SIGACTION_BYTES) for number in SIGNALS}
    for number, action in kernel.items():
        libc.sigaction(int(number), None, action)
    finished = threading.Event()

    def restore() -> None:
        while not finished.wait(RESTORE_S):
            for number, action in kernel.items():
                libc.sigaction(int(number), action, None)

    restoring = threading.Thread(target=restore, daemon=True)
    restoring.start()
    try:
        yield
    finally:
        finished.set()
        restoring.join()
        for number, handler in python.items():
            if handler is not None:  # None is a handler of C, which Python cannot set
                signal.signal(number, handler)


@contextmanager
def _handled(numbers: Iterable[int], handler: Handler) -> Iterator[None]:
    """Handle signals that are not ignored; Python allows this in the main thread only, others change nothing."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    earlier = _set_handlers(numbers, handler)
    try:
        yield
    finally:
        for number, other in earlier.items():
            signal.signal(number, other)


def _set_handlers(numbers: Iterable[int], handler: Handler) -> dict[int, Any]:
    """Handle signals that are not ignored; returns the earlier handlers of those that changed."""
    earlier = {number: signal.getsignal(number) for number in numbers}
    changed = {number: other for number, other in earlier.items() if other not in (signal.SIG_IGN, None)}
    for number in changed:
        signal.signal(number, handler)
    return changed
