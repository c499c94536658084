"""The kinds of decisions that a search makes: one of several options, an integer in a range, a log-uniform number.

The result of a decision is a *label*, a scalar that fits in tables, JSON and samplers: the option itself, or the JSON
text of an option that is a list.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

WIDEST = 2**53  # of a range of integers: labels are drawn by a fraction in double precision
Label = str | int | float | bool | None


class Distribution:
    """The labels that a decision may have."""

    def draw(self, fraction: float) -> Label:
        """The label at `fraction`, in [0, 1), of all labels."""
        raise NotImplementedError

    def some_labels(self) -> Sequence[Label]:
        """All labels if they are countable, else both ends of the range."""
        raise NotImplementedError

    def allows(self, label: Label) -> bool:
        """Whether `label` is one of the labels."""
        raise NotImplementedError

    def value(self, label: Label) -> Any:
        """The value that a label represents."""
        return label


@dataclass(frozen=True)
class Choice(Distribution):
    """One of several options without an order.

    Attributes
    ----------
    options : tuple
        Scalars, or lists of scalars or of lists.
    """

    options: tuple[Any, ...]
    labels: tuple[Label, ...] = field(init=False, compare=False)
    lists: Mapping[Label, list[Any]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        lists = {label_of(option): option for option in self.options if isinstance(option, list)}
        object.__setattr__(self, "labels", tuple(map(label_of, self.options)))
        object.__setattr__(self, "lists", lists)

    def draw(self, fraction: float) -> Label:
        return self.labels[int(fraction * len(self.labels))]

    def some_labels(self) -> Sequence[Label]:
        return self.labels

    def allows(self, label: Label) -> bool:
        return label in self.labels

    def value(self, label: Label) -> Any:
        return self.lists.get(label, label)


@dataclass(frozen=True)
class Int(Distribution):
    """An integer: low, low + step, … up to high."""

    low: int
    high: int
    step: int = 1

    def draw(self, fraction: float) -> Label:
        return self.low + self.step * int(fraction * ((self.high - self.low) // self.step + 1))

    def some_labels(self) -> Sequence[Label]:
        return range(self.low, self.high + 1, self.step)

    def allows(self, label: Label) -> bool:
        return isinstance(label, int) and not isinstance(label, bool) and label in self.some_labels()


@dataclass(frozen=True)
class LogUniform(Distribution):
    """A number from low to high whose logarithm is uniformly distributed."""

    low: float
    high: float

    def draw(self, fraction: float) -> Label:
        return min(self.low * math.exp(fraction * math.log(self.high / self.low)), self.high)

    def some_labels(self) -> Sequence[Label]:
        return self.low, self.high

    def allows(self, label: Label) -> bool:
        return isinstance(label, int | float) and not isinstance(label, bool) and self.low <= label <= self.high


def label_of(option: Any) -> Label:
    """An option as a scalar."""
    return json.dumps(option) if isinstance(option, list) else option


def text_of(value: Any) -> str:
    """A value as a key of a JSON object."""
    if isinstance(value, str):
        return value
    # json.dumps is slow for the number of calls that a search makes.
    return str(value) if type(value) is int else json.dumps(value)


def parse_distribution(raw: Mapping[str, Any]) -> Distribution | str:
    """``{"choice": […]}``, ``{"int": […]}`` or ``{"log_uniform": […]}`` as a distribution, or what is wrong with it."""
    kind, content = next(iter(raw.items()))
    if len(raw) > 1:
        return f"'{kind}' stands alone, got {', '.join(map(repr, list(raw)[1:]))} beside it"
    return DISTRIBUTIONS[kind](content)


def _parse_choice(content: Any) -> Choice | str:
    if not isinstance(content, list) or not content:
        return f"expected a list of one option or more, got {content!r}"
    if objects := [option for option in content if _holds_object(option)]:
        return f"options are plain values or lists of them, got {objects[0]!r}; choose layers by 'when' and a name"
    label, count = Counter(text_of(label_of(option)) for option in content).most_common(1)[0]
    return f"names the option {label} twice" if count > 1 else Choice(tuple(content))


def _holds_object(option: Any) -> bool:
    return isinstance(option, dict) or (isinstance(option, list) and any(map(_holds_object, option)))


def _parse_int(content: Any) -> Int | str:
    if not _are_numbers(content, int) or len(content) not in (2, 3):
        return f"expected [low, high] or [low, high, step], whole numbers, got {content!r}"
    distribution = Int(*content)
    if distribution.low > distribution.high or distribution.step < 1:
        return f"expected low <= high and a step > 0, got {content!r}"
    if distribution.high - distribution.low > WIDEST:
        return f"expected a range of at most 2^53, got {content!r}"
    return distribution


def _parse_log_uniform(content: Any) -> LogUniform | str:
    if not _are_numbers(content, int, float) or len(content) != 2 or not 0 < content[0] < content[1]:
        return f"expected [low, high], 0 < low < high, got {content!r}"
    return LogUniform(*content)


def _are_numbers(content: Any, *types: type) -> bool:
    return isinstance(content, list) and all(type(number) in types for number in content)


DISTRIBUTIONS: Mapping[str, Callable[[Any], Distribution | str]] = {
    "choice": _parse_choice,
    "int": _parse_int,
    "log_uniform": _parse_log_uniform,
}
