"""What a plan consists of: settings of an experiment, each with the numbers that it was derived from."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from voxray.runs.folder import PlanFolder


@dataclass(frozen=True)
class Choice:
    """A setting of an experiment: its key path, its value, and why; without a reason it speaks for itself."""

    key: str
    value: Any
    reason: str = ""


@dataclass(frozen=True)
class Proposal:
    """An experiment that fits a data set.

    Attributes
    ----------
    suffix : str
        Of its files: empty for the first proposal, ``_2d`` for the second one.
    title : str
        What it does, in a line.
    choices : tuple of Choice
        All settings but the paths and ``[data]``.
    architecture : object
        Content of the architecture file.
    """

    suffix: str
    title: str
    choices: tuple[Choice, ...]
    architecture: Any

    def value(self, key: str) -> Any:
        """The value of a setting; None where the plan does not choose it."""
        return next((choice.value for choice in self.choices if choice.key == key), None)


def by(numbers: Iterable[float]) -> str:
    """Sizes as comments write them: ``35 × 50 × 35.5``."""
    return " × ".join(f"{number:.4g}" for number in numbers)


def network_choice(suffix: str, reason: str) -> Choice:
    """The architecture file of a proposal, beside its experiment."""
    return Choice("model.architecture", PlanFolder(Path()).architecture(suffix).name, reason)
