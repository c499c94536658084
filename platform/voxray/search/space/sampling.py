"""Points of a space: suggested decision by decision, drawn at random, or replayed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from voxray.errors import ConfigError
from voxray.search.space.distributions import Distribution, Label
from voxray.search.space.nodes import Form, List, Object, Scope, Suggest, Walk

DRAWN = 256  # numbers at a time, which is much faster than one by one
Decisions = Mapping[str, Label]


@dataclass(frozen=True, eq=False)
class Space:
    """A checked space file.

    Attributes
    ----------
    where : str
        Its file, for errors.
    lets : mapping
        Forms by name.
    architecture : List or Object
        A sequential network, or a U-Net.
    experiment : mapping
        Forms by the key path of a setting.
    ranks : tuple of int
        2, 3 or both: of the inputs that its networks take.
    """

    where: str
    lets: Mapping[str, Form]
    architecture: List | Object
    experiment: Mapping[str, Form]
    ranks: tuple[int, ...]

    def grow(self, walk: Walk, made: Any) -> Scope:
        """Fill the architecture into an empty list or object, `made`; returns the names that it used."""
        scope = Scope(walk, "", self.lets, {"rank": walk.spatial_dims})
        self.architecture.fill(made, scope, "")
        return scope

    def seed(self) -> Any:
        """What the architecture grows in."""
        return [] if isinstance(self.architecture, List) else {}


@dataclass(frozen=True)
class Sample:
    """A point of a space.

    Attributes
    ----------
    architecture : list or dict
        Content of an architecture file. Parts of it may be shared with other samples: it is not to be changed.
    settings : dict
        Values of the experiment by key path.
    decisions : dict
        Name → label of each decision that was asked for, in the order of asking.
    """

    architecture: Any
    settings: dict[str, Any]
    decisions: dict[str, Label]

    def assignments(self) -> list[str]:
        """The settings as ``--set`` takes them, ``key.path=value``."""
        return [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]


def sample(space: Space, spatial_dims: int, suggest: Suggest) -> Sample:
    """The network and the settings that some decisions make.

    Parameters
    ----------
    space : Space
    rank : int
        2 or 3, of the input.
    suggest : callable
        (name, distribution) → label. It is asked for those decisions alone that have a say in this sample, each once.
        A name always comes with the same distribution.

    Raises
    ------
    ConfigError
        The space is not for inputs of this rank.
    """
    check_rank(space, spatial_dims)
    return grow(space, Walk(suggest, spatial_dims, {}))


def grow(space: Space, walk: Walk) -> Sample:
    """The sample of a walk through the space."""
    made = space.seed()
    scope = space.grow(walk, made)
    settings = {key: form.give(scope, key) for key, form in space.experiment.items()}
    return Sample(made, settings, walk.decisions)


def at_random(rng: np.random.Generator) -> Suggest:
    """Draws each decision from its distribution."""
    shares = (share for _ in count() for share in rng.random(DRAWN).tolist())
    return lambda _, distribution: distribution.draw(next(shares))


def replay(space: Space, spatial_dims: int, decisions: Decisions) -> Sample:
    """The point with these decisions.

    Raises
    ------
    ConfigError
        One is missing, is none of the space, or has a label that its distribution doesn't have.
    """

    def look_up(name: str, distribution: Distribution) -> Label:
        if name not in decisions:
            raise ConfigError(space.where, f"the point says nothing of {name}", f"Give it one of {distribution}")
        if not distribution.allows(decisions[name]):
            raise ConfigError(space.where, f"{name} cannot be {decisions[name]!r}", f"Give it one of {distribution}")
        return decisions[name]

    point = sample(space, spatial_dims, look_up)
    if needless := decisions.keys() - point.decisions.keys():
        raise ConfigError(space.where, f"nothing asks for {', '.join(sorted(needless))}", "Leave it out of the point")
    return point


def check_rank(space: Space, spatial_dims: int) -> None:
    """Raise unless the space's networks take inputs of this rank."""
    if spatial_dims not in space.ranks:
        problem = f"its networks take {space.ranks[0]}D inputs, the patches are {spatial_dims}D"
        raise ConfigError(space.where, problem, "Take the space or the patch size of the other rank")
