"""A survey of a space before a search: what its samples cost, and why some of them are rejected."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost
from voxray.search.constraints import Conditions, draw, estimate
from voxray.search.space.sampling import Space, at_random

SAMPLES = 1000


@dataclass(frozen=True, eq=False)
class Survey:
    """Random samples of a space, without training.

    Attributes
    ----------
    name : str
        Of the space.
    conditions : Conditions
    costs : tuple of Cost
        Of the samples within the limits.
    rejected : Counter
        Number of the others by kind of reason.
    """

    name: str
    conditions: Conditions
    costs: tuple[Cost, ...]
    rejected: Counter[str]

    @property
    def drawn(self) -> int:
        """All samples."""
        return len(self.costs) + self.rejected.total()


def survey_space(space: Space, conditions: Conditions, seed: int) -> Survey:
    """Draw `SAMPLES` samples and estimate their costs."""
    suggest, costs, rejected = at_random(np.random.default_rng(seed)), [], Counter[str]()
    for _ in range(SAMPLES):
        try:
            costs.append(estimate(draw(space, conditions, suggest), conditions))
        except ConfigError as error:
            rejected[kind_of(error.problem)] += 1
    return Survey(Path(space.where).name, conditions, tuple(costs), rejected)


def kind_of(reason: str) -> str:
    """A reason without the key paths, sizes and amounts of a single sample."""
    amount, beyond, limit = reason.partition(", more than ")
    if beyond:
        kind = next(kind for kind in ("parameters", "FLOP a patch", "memory") if kind in amount)
        return f"more {kind} than {limit}"
    last = reason.strip().splitlines()[-1].strip() if reason.strip() else ""
    # [4].kernel_size: the map shrinks to nothing: 'valid' kernel 3 along x, where 2 is left
    key_path, _, problem = last.partition(": ")
    return (problem or key_path).partition(":")[0].partition(";")[0]
