"""JSON and TOML of unknown origin: values that Python's parsers accept but no Voxray file may hold raise."""

import datetime
import json
import math
import tomllib
from collections.abc import Iterator
from typing import Any

DEEPEST = 100  # levels of lists and tables
WIDEST = 2**63  # integers are smaller: they are stored in 64 bits


def parse_json(content: bytes | str) -> Any:
    """The content of a JSON file.

    Raises
    ------
    ValueError
        It is not JSON; a key stands twice in one object; it is nested deeper than `DEEPEST`; a number is not finite or
        has more than 64 bits; or a text holds characters that no file may have.
    """
    try:
        return check_content(json.loads(content, object_pairs_hook=_without_repeats))
    except RecursionError:
        raise _too_deep() from None


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML file; ValueError as `parse_json`."""
    try:
        content: dict[str, Any] = check_content(tomllib.loads(text))
    except RecursionError:
        raise _too_deep() from None
    return content


def check_content(content: Any) -> Any:
    """The same content; ValueError where it holds a value that no Voxray file may hold."""
    for value in _values(content):
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"numbers must be finite, got {value}")
        if isinstance(value, datetime.date | datetime.time):
            raise ValueError(f"dates are not used, got {value}; put a text into quotes")
        if isinstance(value, int) and not -WIDEST <= value < WIDEST:
            raise ValueError(f"integers must fit into 64 bits, got one of {value.bit_length()} bits")
        if isinstance(value, str) and ("\0" in value or any("\ud800" <= letter <= "\udfff" for letter in value)):
            raise ValueError(f"texts must be Unicode without null characters, got {value!r:.80}")
    return content


def _values(content: Any) -> Iterator[Any]:
    """Everything that is no list or table, with the keys; without recursion, which a stranger's file may exhaust."""
    level = [content]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for value in level:
            if isinstance(value, dict):
                yield from value
                inner += value.values()
            elif isinstance(value, list):
                inner += value
            else:
                yield value
        level = inner
    if level:
        raise _too_deep()


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    content = dict(pairs)
    if len(content) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"has the key {repeated!r:.80} twice in one object")
    return content


def _too_deep() -> ValueError:
    return ValueError(f"is nested deeper than {DEEPEST} levels")
