from types import SimpleNamespace

import pytest

from voxray.console import progress
from voxray.console.progress import Pace, rate_text


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: clock.now)
    return clock


def test_starting_up_is_not_part_of_the_rate(clock: SimpleNamespace) -> None:
    pace = Pace()
    assert pace.left_s is None
    clock.now += 30
    pace.move(1, 101)
    clock.now += 10
    pace.move(21, 101)
    assert pace.rate == pytest.approx(2)
    assert pace.left_s == pytest.approx(40)


def test_what_an_earlier_run_did_is_not_part_of_the_rate(clock: SimpleNamespace) -> None:
    pace = Pace(50)
    pace.move(51, 101)
    clock.now += 5
    pace.move(61, 101)
    assert pace.rate == pytest.approx(2)


def test_a_standstill_lowers_the_rate(clock: SimpleNamespace) -> None:
    pace = Pace()
    pace.move(1, 11)
    clock.now += 1
    pace.move(3, 11)
    assert pace.rate == pytest.approx(2)
    clock.now += 3
    assert pace.rate == pytest.approx(0.5)
    assert pace.left_s == pytest.approx(16)


def test_a_second_split_restarts_the_rate(clock: SimpleNamespace) -> None:
    pace = Pace()
    pace.move(1, 10)
    clock.now += 1
    pace.move(10, 10)
    assert pace.left_s is None
    clock.now += 50
    pace.move(1, 10)
    clock.now += 1
    pace.move(4, 10)
    assert pace.rate == pytest.approx(3)


@pytest.mark.parametrize(
    ("per_s", "text"),
    [(0, "0.0 steps/s"), (1234.5, "1,234.5 steps/s"), (0.025, "1.5 steps/min"), (0.01, "36.0 steps/h")],
)
def test_a_rate_is_printed_in_a_span_in_which_it_can_be_seen(per_s: float, text: str) -> None:
    assert rate_text(per_s, "steps") == text
