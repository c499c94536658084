import threading

import pytest

from voxray.inference.read_ahead import read_ahead


def test_the_next_one_is_prepared_beside_this_one_and_none_after_it() -> None:
    started = [threading.Event() for _ in range(4)]

    def prepare(number: int) -> int:
        started[number].set()
        return number * number

    for number, square in read_ahead(range(4), prepare):
        assert square == number * number
        if number < 3:
            assert started[number + 1].wait(5)
        assert not any(event.is_set() for event in started[number + 2 :])
    assert list(read_ahead([], prepare)) == []


def test_an_error_comes_where_its_item_would_and_those_before_it_are_there() -> None:
    def prepare(number: int) -> int:
        return 6 // number

    pairs = read_ahead([3, 0, 1], prepare)
    assert next(pairs) == (3, 2)
    with pytest.raises(ZeroDivisionError):
        next(pairs)


def test_a_caller_that_stops_does_not_wait_for_the_next_one() -> None:
    let_go = threading.Event()

    def prepare(number: int) -> int:
        if number:
            assert let_go.wait(10)
        return number

    pairs = read_ahead([0, 1], prepare)
    assert next(pairs) == (0, 0)
    pairs.close()
    assert not let_go.is_set()
    let_go.set()
