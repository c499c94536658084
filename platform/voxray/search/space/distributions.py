"""What a search may decide: one of some options, a whole number of a range, a number of a logarithmic range.

A decision is answered by a *label*, which is a plain scalar so that tables, JSON and samplers can hold it: the option
itself, or the JSON text of an option that is a list.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

Label = str | int | float | bool | None


class Distribution(Protocol):
    """The labels that a decision may have."""

    def draw(self, share: float) -> Label:
        """The label at `share`, in [0, 1), of all of them."""

    def some_labels(self) -> Sequence[Label]:
        """All labels where they can be counted, else both ends."""

    def allows(self, label: Label) -> bool:
        """Whether it is one of the labels."""

    def value(self, label: Label) -> Any:
        """What a label stands for."""


@dataclass(frozen=True)
class Choice:
    """One of some options, in no order.

    Attributes
    ----------
    options : tuple
        Scalars, or lists of scalars or of lists.
    """

    options: tuple[Any, ...]
    labels: tuple[Label, ...] = field(init=False, compare=False)
    lists: Mapping[Label, list[Any]] = field(init=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "labels", tuple(label_of(option) for option in self.options))
        object.__setattr__(self, "lists", {label_of(each): each for each in self.options if isinstance(each, list)})

    def draw(self, share: float) -> Label:
        """See `Distribution`."""
        return self.labels[int(share * len(self.labels))]

    def some_labels(self) -> Sequence[Label]:
        """See `Distribution`."""
        return self.labels

    def allows(self, label: Label) -> bool:
        """See `Distribution`."""
        return label in self.labels

    def value(self, label: Label) -> Any:
        """See `Distribution`."""
        return self.lists.get(label, label)

    def __str__(self) -> str:
        return ", ".join(map(text_of, self.labels))


@dataclass(frozen=True)
class Int:
    """A whole number of low, low + step, … up to high."""

    low: int
    high: int
    step: int = 1

    def draw(self, share: float) -> Label:
        """See `Distribution`."""
        return self.low + self.step * int(share * ((self.high - self.low) // self.step + 1))

    def some_labels(self) -> Sequence[Label]:
        """See `Distribution`."""
        return range(self.low, self.high + 1, self.step)

    def allows(self, label: Label) -> bool:
        """See `Distribution`."""
        return isinstance(label, int) and not isinstance(label, bool) and label in self.some_labels()

    def value(self, label: Label) -> Any:
        """See `Distribution`."""
        return label

    def __str__(self) -> str:
        return f"{self.low} to {self.high} in steps of {self.step}"


@dataclass(frozen=True)
class LogUniform:
    """A number from low to high whose logarithm is uniform."""

    low: float
    high: float

    def draw(self, share: float) -> Label:
        """See `Distribution`."""
        return min(self.low * math.exp(share * math.log(self.high / self.low)), self.high)

    def some_labels(self) -> Sequence[Label]:
        """See `Distribution`."""
        return self.low, self.high

    def allows(self, label: Label) -> bool:
        """See `Distribution`."""
        return isinstance(label, int | float) and not isinstance(label, bool) and self.low <= label <= self.high

    def value(self, label: Label) -> Any:
        """See `Distribution`."""
        return label

    def __str__(self) -> str:
        return f"{self.low:g} to {self.high:g}"


def label_of(option: Any) -> Label:
    """An option as a scalar."""
    return json.dumps(option) if isinstance(option, list) else option


def text_of(value: Any) -> str:
    """A value as a key of a JSON object."""
    if isinstance(value, str):
        return value
    # JSON's own writer is slow where a search asks often.
    return str(value) if type(value) is int else json.dumps(value)


def parse_distribution(raw: Mapping[str, Any]) -> Distribution | str:
    """``{"choice": […]}``, ``{"int": […]}`` or ``{"log_uniform": […]}`` as a distribution, or what is wrong with it."""
    kind, given = next(iter(raw.items()))
    if len(raw) > 1:
        return f"'{kind}' stands alone, got {', '.join(map(repr, list(raw)[1:]))} beside it"
    return {"choice": _choice, "int": _int, "log_uniform": _log_uniform}[kind](given)


def _choice(given: Any) -> Choice | str:
    if not isinstance(given, list) or not given:
        return f"wants a list of one option or more, got {given!r}"
    for option in given:
        if isinstance(option, dict) or (isinstance(option, list) and "{" in json.dumps(option)):
            return f"options are plain values or lists of them, got {option!r}; choose layers by 'when' and a name"
    labels = [text_of(label_of(option)) for option in given]
    twice = [label for number, label in enumerate(labels) if label in labels[:number]]
    return f"names the option {twice[0]} twice" if twice else Choice(tuple(given))


def _int(given: Any) -> Int | str:
    whole = isinstance(given, list) and all(type(number) is int for number in given)
    if not whole or len(given) not in (2, 3):
        return f"wants [low, high] or [low, high, step], whole numbers, got {given!r}"
    low, high, step = given if len(given) == 3 else (*given, 1)
    return Int(low, high, step) if low <= high and step > 0 else f"wants low <= high and a step > 0, got {given!r}"


def _log_uniform(given: Any) -> LogUniform | str:
    numbers = isinstance(given, list) and all(type(number) in (int, float) for number in given)
    if not numbers or len(given) != 2 or not 0 < given[0] < given[1]:
        return f"wants [low, high], 0 < low < high, got {given!r}"
    return LogUniform(*given)
