"""Samples of a space: a network and settings for suggested or random decisions."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np

from voxray.errors import ConfigError
from voxray.search.space.distributions import Label
from voxray.search.space.nodes import Form, List, Object, Scope, Suggest, Walk

DRAWN = 256  # random numbers at a time, which is much faster than one by one
Decisions = Mapping[str, Label]


@dataclass(frozen=True, eq=False)
class Space:
    """A checked space file.

    Attributes
    ----------
    where : str
        The file, named in errors.
    lets : mapping
        Forms by name.
    architecture : List or Object
        A sequential network, or a U-Net.
    experiment : mapping
        Forms by the key path of a setting.
    spatial_dims : tuple of int
        2, 3 or both: of the inputs that its networks accept.
    """

    where: str
    lets: Mapping[str, Form]
    architecture: List | Object
    experiment: Mapping[str, Form]
    spatial_dims: tuple[int, ...]

    def fill(self, walk: Walk, content: Any) -> Scope:
        """Fill `content`, an empty list or object, with the architecture; returns the scope of its names."""
        scope = Scope(walk, "", self.lets, {"spatial_dims": walk.spatial_dims})
        self.architecture.fill(content, scope, "")
        return scope

    def empty(self) -> Any:
        """A new list or object for `fill`."""
        return [] if isinstance(self.architecture, List) else {}

    def check_spatial_dims(self, spatial_dims: int) -> None:
        """Raise unless the networks accept inputs with so many spatial dimensions.

        Raises
        ------
        ConfigError
        """
        if spatial_dims not in self.spatial_dims:
            problem = f"its networks take {self.spatial_dims[0]}D inputs, the patches are {spatial_dims}D"
            raise ConfigError(self.where, problem, "Choose another space or another patches.size")


@dataclass(frozen=True)
class Sample:
    """A sample of a space.

    Attributes
    ----------
    architecture : list or dict
        Content of an architecture file. It may share parts with other samples and must not be changed.
    settings : dict
        Values of the experiment by key path.
    decisions : dict
        Name → label of each decision that was requested, in that order.
    """

    architecture: Any
    settings: dict[str, Any]
    decisions: dict[str, Label]


def sample(space: Space, spatial_dims: int, suggest: Suggest) -> Sample:
    """The network and the settings that follow from decisions.

    Parameters
    ----------
    space : Space
    spatial_dims : int
        2 or 3, of the input.
    suggest : callable
        (name, distribution) → label. It is called once for each decision that has an effect on this sample. The same
        name always has the same distribution.

    Raises
    ------
    ConfigError
        The space is not for inputs with so many dimensions.
    """
    space.check_spatial_dims(spatial_dims)
    return sample_walk(space, Walk(suggest, spatial_dims, {}))


def sample_walk(space: Space, walk: Walk) -> Sample:
    """The sample of one evaluation of the space."""
    content = space.empty()
    scope = space.fill(walk, content)
    settings = {key: form.give(scope, key) for key, form in space.experiment.items()}
    return Sample(content, settings, walk.decisions)


def at_random(rng: np.random.Generator) -> Suggest:
    """A `suggest` that draws each label from its distribution."""
    fractions = (fraction for _ in count() for fraction in rng.random(DRAWN).tolist())
    return lambda _, distribution: distribution.draw(next(fractions))
