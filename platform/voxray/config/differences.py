"""What differs between two sets of settings, by key path."""

import json
from collections.abc import Iterator, Mapping
from typing import Any


def differences(before: Mapping[str, Any], now: Mapping[str, Any], parent: str = "") -> Iterator[str]:
    """A text for each value that differs, such as ``patches.size was [32, 32, 10], now [48, 48, 10]``.

    Examples
    --------
    >>> list(differences({"seed": 0, "split": {"val": 0.2}}, {"seed": 0, "split": {"val": 0.3}}))
    ['split.val was 0.2, now 0.3']
    """
    for key in {**before, **now}:
        old, new = before.get(key), now.get(key)
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            yield from differences(old, new, f"{parent}{key}.")
        elif old != new:
            yield f"{parent}{key} was {_text(old)}, now {_text(new)}"


def _text(value: Any) -> str:
    """A value as a settings file has it."""
    if value is None:
        return "not set"
    return value if isinstance(value, str) else json.dumps(value)
