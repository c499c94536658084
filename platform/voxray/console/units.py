"""Sizes, times and large numbers as people write them: 8GiB, 12 min, 1.5G."""

import re

from voxray.errors import ConfigError

BINARY = ("bytes", "KiB", "MiB", "GiB", "TiB")
LETTERS = ("", "k", "M", "G", "T", "P")
BYTES = {"": 1, "B": 1} | {
    f"{letter}{rest}": (1024 if "i" in rest else 1000) ** power
    for power, letter in enumerate("KMGT", 1)
    for rest in ("", "B", "i", "iB")
}


def bytes_text(size: int) -> str:
    """A size with three digits and a binary unit."""
    power, value = 0, float(size)
    while value >= 1000 and power < len(BINARY) - 1:
        power, value = power + 1, value / 1024
    return f"{value:,.0f} {BINARY[power]}" if power == 0 or value >= 100 else f"{value:.3g} {BINARY[power]}"


def count_text(count: float) -> str:
    """A number with three digits and k, M, G, T or P where it is large."""
    power = 0
    while count >= 999.5 and power < len(LETTERS) - 1:
        power, count = power + 1, count / 1000
    return f"{count:.3g}{' ' if power else ''}{LETTERS[power]}"


def seconds_text(seconds: float) -> str:
    """A time in a readable unit: ``0.042 s``, ``40 s``, ``12 min``, ``3.5 h``."""
    value, unit = seconds, "s"
    for larger in ("min", "h"):
        if value >= 100:
            value, unit = value / 60, larger
    return f"{value:.2g} {unit}" if value < 9.95 else f"{value:.0f} {unit}"


def parse_bytes(text: str, where: str) -> int:
    """``8GiB`` is 8 × 1024³ bytes, ``8GB`` and ``8G`` are 8 × 1000³.

    Raises
    ------
    ConfigError
        Not a size, or less than one byte.
    """
    return _parse(text, BYTES, where, "a size such as 8GiB or 500MB")


def parse_count(text: str, where: str) -> int:
    """``1.5G`` is 1,500,000,000; the letters are k, M, G, T and P.

    Raises
    ------
    ConfigError
        Not a number, or less than one.
    """
    return _parse(text, {letter: 1000**power for power, letter in enumerate(LETTERS)}, where, "a number such as 20M")


def _parse(text: str, factors: dict[str, int], where: str, expected: str) -> int:
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", text)
    value = round(float(match[1]) * factors[match[2]]) if match and match[2] in factors else 0
    if value < 1:
        raise ConfigError(where, f"expected {expected}, got '{text}'")
    return value
