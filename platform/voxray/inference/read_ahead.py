"""The next scan is read while the network works on this one."""

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar

ItemT = TypeVar("ItemT")
PreparedT = TypeVar("PreparedT")


def read_ahead(items: Sequence[ItemT], prepare: Callable[[ItemT], PreparedT]) -> Iterator[tuple[ItemT, PreparedT]]:
    """Each item with what `prepare` makes of it, in order; that of the next one is made in a thread meanwhile.

    At most two are in memory: that of the caller and the next one. An exception of `prepare` is raised where its item
    would be yielded. A thread that is still working when the caller stops does not keep the process.
    """
    following = _Prepared(prepare, items[0]) if items else None
    for number, item in enumerate(items, 1):
        assert following is not None
        prepared = following.result()
        following = _Prepared(prepare, items[number]) if number < len(items) else None
        yield item, prepared
        del prepared  # before the next but one is made


class _Prepared(Generic[PreparedT]):
    """What a function returns or raises, in a daemon thread."""

    def __init__(self, prepare: Callable[[ItemT], PreparedT], item: ItemT) -> None:
        self._outcome: list[PreparedT] = []
        self._error: BaseException | None = None

        def work() -> None:
            try:
                self._outcome.append(prepare(item))
            except BaseException as error:  # noqa: BLE001  raised where the result is asked for
                self._error = error

        self._thread = threading.Thread(target=work, name="read-ahead", daemon=True)
        self._thread.start()

    def result(self) -> PreparedT:
        self._thread.join()
        if self._error is not None:
            raise self._error
        return self._outcome.pop()
