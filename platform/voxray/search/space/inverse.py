"""Which point of a space a network is: sampling backwards, so that a search can start from networks that exist."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from voxray.errors import ConfigError
from voxray.models.spec.load import Architecture, parse_architecture
from voxray.models.spec.unet import UNet
from voxray.search.space.distributions import Distribution, Label, LogUniform
from voxray.search.space.nodes import UNMADE, Suggest, Walk
from voxray.search.space.sampling import Decisions, Space

SIZES_OF_LEVELS = ("kernel_size", "pool")  # of a U-Net; written once for all levels, or for each


class _Open(Exception):  # noqa: N818  (it is no error)
    """A decision that has not been taken yet."""

    def __init__(self, name: str, distribution: Distribution) -> None:
        super().__init__(name)
        self.name, self.distribution = name, distribution


def find_point(
    space: Space, architecture: Architecture, settings: Mapping[str, Any] | None = None
) -> dict[str, Label] | None:
    """Decisions that make a network.

    Parameters
    ----------
    space : Space
    architecture : Sequential or UNet
    settings : mapping, optional
        Values of the experiment by key path. Those that the space cannot give are left undecided.

    Returns
    -------
    dict or None
        Name → label, as `sampling.replay` takes them if all settings of the space were given and are in it. None where
        the network is no point of the space.
    """
    spatial_dims = architecture.spatial_dims or space.ranks[0]
    if spatial_dims not in space.ranks:
        return None
    content = canonical(architecture)
    comparable = content
    if isinstance(architecture, UNet):
        comparable = {key: value for key, value in content.items() if key not in SIZES_OF_LEVELS}
    numbers = sorted(set(_numbers([content, dict(settings or {})])))

    def is_network(suggest: Suggest) -> bool:
        made = space.seed()
        try:
            space.grow(Walk(suggest, spatial_dims, {}), made)
        except _Open:
            if _agrees(made, comparable):
                raise
            return False
        return _agrees(made, comparable) and _is(made, content)

    decisions = _search(is_network, {}, numbers)
    if decisions is None:
        return None
    for key, value in (settings or {}).items():
        if key not in space.experiment:
            continue

        def is_setting(suggest: Suggest, key: str = key, value: Any = value) -> bool:
            scope = space.grow(Walk(suggest, spatial_dims, {}), space.seed())
            return bool(space.experiment[key].give(scope, key) == value)

        decisions = _search(is_setting, decisions, numbers) or decisions
    return decisions


def canonical(architecture: Architecture) -> Any:
    """The content of an architecture file with all defaults written out, alike for files of the same meaning."""
    if isinstance(architecture, UNet):
        sizes = {"kernel_size": [*map(list, architecture.kernels)], "pool": [*map(list, architecture.strides)]}
        return {**architecture.model_dump(mode="json"), **sizes}
    return [layer.model_dump(mode="json") for layer in architecture.layers]


def _search(
    reaches: Callable[[Suggest], bool], decisions: Decisions, numbers: Iterable[float]
) -> dict[str, Label] | None:
    """Depth first over the decisions that are open; whoever `reaches` says no does so as early as it can be seen."""

    def suggest(name: str, distribution: Distribution) -> Label:
        if name not in decisions:
            raise _Open(name, distribution)
        return decisions[name]

    try:
        return dict(decisions) if reaches(suggest) else None
    except _Open as found:
        name, distribution = found.name, found.distribution
    countless = isinstance(distribution, LogUniform)
    labels = filter(distribution.allows, numbers) if countless else distribution.some_labels()
    points = (_search(reaches, {**decisions, name: label}, numbers) for label in labels)
    return next((point for point in points if point is not None), None)


def _agrees(made: Any, target: Any) -> bool:
    """Whether something unfinished may become the target."""
    if made is UNMADE:
        return True
    if isinstance(made, dict) and isinstance(target, dict):
        return all(_agrees(value, target[key]) for key, value in made.items() if key in target)
    if isinstance(made, list) and isinstance(target, list):
        return len(made) <= len(target) and all(map(_agrees, made, target))
    return bool(made == target)


def _is(made: Any, content: Any) -> bool:
    try:
        return bool(canonical(parse_architecture(made, "")) == content)
    except ConfigError:
        return False


def _numbers(content: Any) -> Iterable[float]:
    """All numbers in it."""
    if isinstance(content, dict | list):
        for each in content.values() if isinstance(content, dict) else content:
            yield from _numbers(each)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield content
