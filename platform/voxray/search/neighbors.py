"""The neighbors of a point of a space: one decision takes the next label, all others stay."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from voxray.search.space.distributions import Choice, Distribution, Int, Label, LogUniform
from voxray.search.space.nodes import Walk
from voxray.search.space.sampling import Decisions, Space, sample_walk

PART = 1 / 4  # of the range of a logarithm, that a neighbor is away


def neighbors(space: Space, point: Decisions, spatial_dims: int, rng: np.random.Generator) -> list[Decisions]:
    """All neighbors of a sample in random order.

    Parameters
    ----------
    space : Space
    point : mapping
        All decisions of a sample.
    spatial_dims : int
    rng : numpy.random.Generator

    Returns
    -------
    list of mapping
        Decisions that a changed one adds are not among them.
    """
    distributions: dict[str, Distribution] = {}

    def suggest(name: str, distribution: Distribution) -> Label:
        distributions[name] = distribution
        return point[name]

    sample_walk(space, Walk(suggest, spatial_dims, {}))
    found: list[Decisions] = [
        {**point, name: label}
        for name, distribution in distributions.items()
        for label in _next_labels(distribution, point[name])
    ]
    return [found[number] for number in rng.permutation(len(found))]


def _next_labels(distribution: Distribution, label: Any) -> Iterator[Label]:
    """The labels beside one: of numbers the next smaller and larger ones, of others all."""
    match distribution:
        case LogUniform(low, high):
            factor = (high / low) ** PART
            yield from (number for number in (label / factor, label * factor) if low <= number <= high)
        case Int(step=step):
            yield from (number for number in (label - step, label + step) if distribution.allows(number))
        case Choice(labels=labels):
            numbers: list[Any] = sorted(option for option in labels if type(option) in (int, float))
            if len(numbers) < len(labels):
                yield from (option for option in labels if option != label)
                return
            place = numbers.index(label)
            yield from (*numbers[max(0, place - 1) : place], *numbers[place + 1 : place + 2])
