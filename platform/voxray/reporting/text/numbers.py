"""Numbers as text: decimals, percentages and counts."""

import math
from typing import Any

SPLIT_NAMES = {"train": "Training", "val": "Validation", "test": "Test"}
MISSING = "–"
MOST_DIGITS = 15
LEAST_PERCENT = 0.0001


def finite(value: Any) -> float | None:
    """The value as a float; None for what is not a finite number."""
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None


def decimals(value: float | None, digits: int = 3) -> str:
    """A number with `digits` decimal places, or an en dash."""
    return MISSING if value is None or not math.isfinite(value) else minus(f"{value:.{digits}f}")


def interval_text(low: float, high: float, digits: int = 3, between: str = " to ") -> str:
    """Both ends, with more decimal places than `digits` where these would not tell them apart."""
    while decimals(low, digits) == decimals(high, digits) and digits < MOST_DIGITS:
        digits += 1
    return f"{decimals(low, digits)}{between}{decimals(high, digits)}"


def probability(value: float | None) -> str:
    """A probability with three decimal places, or two significant digits where it is small; an en dash for none."""
    return f"{value:.2g}" if value is not None and 0 < value < 0.01 else decimals(value)


def probability_percent(value: float | None) -> str:
    """A probability in percent: its distance from 0 or 100 has two significant digits where it is less than 1.

    Examples
    --------
    >>> [probability_percent(value) for value in (0.625, 0.000042, 1e-12, 0.99958)]
    ['62.5 %', '0.0042 %', '< 0.0001 %', '99.958 %']
    """
    if value is None or not math.isfinite(value):
        return MISSING
    share = 100 * value
    rest = min(share, 100 - share)
    if rest < LEAST_PERCENT:
        return f"< {LEAST_PERCENT:.4f} %" if share < 50 else f"> {100 - LEAST_PERCENT:.4f} %"
    return f"{share:.{max(1, 1 - math.floor(math.log10(rest)))}f} %"


def percent(part: float, whole: float) -> str:
    """A share in whole percent with a narrow space, or an en dash. Only all is 100 and only none is 0."""
    if not whole:
        return MISSING
    share = 100 * part / whole
    if 0 < share < 1:
        return "<1\u202f%"
    if 99 < share < 100:
        return ">99\u202f%"
    return f"{share:.0f}\u202f%"


def minus(text: str) -> str:
    """Numbers with a typographic minus sign."""
    return text.replace("-", "\u2212")


def number_text(value: float) -> str:
    """An intensity with four significant digits, or as a whole number."""
    return minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")


def count(number: int, noun: str) -> str:
    """A number and its noun, in the plural where needed."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """The plural of a regular noun."""
    return f"{noun}es" if noun.endswith("patch") else f"{noun}s"
