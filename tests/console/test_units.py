import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.console.units import bytes_text, count_text, parse_bytes, parse_count, seconds_text
from voxray.errors import ConfigError


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0 bytes"), (999, "999 bytes"), (1000, "0.977 KiB"), (2**20, "1 MiB"), (345 * 2**30, "345 GiB")],
)
def test_sizes_have_three_digits(size: int, text: str) -> None:
    assert bytes_text(size) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        *((0, "0 s"), (0.042, "0.042 s"), (12.3, "12 s"), (99, "99 s"), (100, "1.7 min"), (5999, "100 min")),
        *((6000, "1.7 h"), (7200, "2 h"), (100_000, "28 h")),
    ],
)
def test_times_have_the_unit_that_suits_them(seconds: float, text: str) -> None:
    assert seconds_text(seconds) == text


@pytest.mark.parametrize(("text", "size"), [("8GiB", 8 * 2**30), ("500 MB", 500 * 10**6), ("1.5K", 1500), ("12", 12)])
def test_sizes_are_read_in_binary_and_in_decimal_units(text: str, size: int) -> None:
    assert parse_bytes(text, "--max-memory") == size


@pytest.mark.parametrize(("text", "count"), [("20M", 20_000_000), ("1.5 G", 1_500_000_000), ("7", 7)])
def test_large_numbers_are_read_with_their_letters(text: str, count: int) -> None:
    assert parse_count(text, "--max-flops") == count


@pytest.mark.parametrize("text", ["", "GiB", "-1G", "8 gigs", "0", "1e9", "nan"])
def test_other_spellings_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--max-memory"):
        parse_bytes(text, "--max-memory")
    with pytest.raises(ConfigError, match="--max-memory"):
        parse_count(text, "--max-memory")


@given(st.integers(1, 10**15))
def test_what_is_printed_is_read_as_nearly_the_same(number: int) -> None:
    assert parse_bytes(bytes_text(number).replace("bytes", ""), "") == pytest.approx(number, rel=0.006)
    assert parse_count(count_text(number), "") == pytest.approx(number, rel=0.006)
