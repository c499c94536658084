"""The inverse of sampling: decisions that give a known network, so that a search can start from it."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from voxray.errors import ConfigError
from voxray.models.spec.load import Architecture, parse_architecture
from voxray.models.spec.unet import UNet
from voxray.search.space.distributions import Distribution, Label, LogUniform
from voxray.search.space.nodes import PENDING, Suggest, Walk
from voxray.search.space.sampling import Decisions, Space

SIZES_OF_LEVELS = ("kernel_size", "pool")  # of a U-Net; written once for all levels, or for each


class _OpenDecision(Exception):  # noqa: N818  (it signals a state, not an error)
    """A decision that has not been made yet."""

    def __init__(self, name: str, distribution: Distribution) -> None:
        super().__init__(name)
        self.name, self.distribution = name, distribution


def find_point(
    space: Space, architecture: Architecture, settings: Mapping[str, Any] | None = None
) -> dict[str, Label] | None:
    """Decisions that give a network.

    Parameters
    ----------
    space : Space
    architecture : Sequential or UNet
    settings : mapping, optional
        Values of the experiment by key path. Those that the space cannot give are left undecided.

    Returns
    -------
    dict or None
        Name → label. None where the network cannot be expressed in this search space.
    """
    spatial_dims = architecture.spatial_dims or space.spatial_dims[0]
    if spatial_dims not in space.spatial_dims:
        return None
    settings = {key: value for key, value in (settings or {}).items() if key in space.experiment}
    target = canonical(architecture)
    numbers = sorted(set(_numbers([target, settings])))

    def gives_network(suggest: Suggest) -> bool:
        return _gives_network(space, Walk(suggest, spatial_dims, {}), target)

    decisions = _search(gives_network, {}, numbers)
    if decisions is None:
        return None
    for key, value in settings.items():

        def gives_setting(suggest: Suggest, key: str = key, value: Any = value) -> bool:
            scope = space.fill(Walk(suggest, spatial_dims, {}), space.empty())
            return bool(space.experiment[key].give(scope, key) == value)

        decisions = _search(gives_setting, decisions, numbers) or decisions
    return decisions


def canonical(architecture: Architecture) -> Any:
    """The content of an architecture file with all defaults, equal for files of the same meaning."""
    if isinstance(architecture, UNet):
        sizes = {"kernel_size": [*map(list, architecture.kernels)], "pool": [*map(list, architecture.strides)]}
        return {**architecture.model_dump(mode="json"), **sizes}
    return [layer.model_dump(mode="json") for layer in architecture.layers]


def _gives_network(space: Space, walk: Walk, target: Any) -> bool:
    """Whether a walk gives the network; raises `_OpenDecision` while it still may."""
    comparable = target
    if isinstance(target, dict):
        comparable = {key: value for key, value in target.items() if key not in SIZES_OF_LEVELS}
    content = space.empty()
    try:
        space.fill(walk, content)
    except _OpenDecision:
        if _may_become(content, comparable):
            raise
        return False
    try:
        return _may_become(content, comparable) and bool(canonical(parse_architecture(content, "")) == target)
    except ConfigError:
        return False


def _search(
    reaches: Callable[[Suggest], bool], decisions: Decisions, numbers: Iterable[float]
) -> dict[str, Label] | None:
    """Depth-first search over the open decisions; `reaches` returns False as soon as the goal is out of reach."""

    def suggest(name: str, distribution: Distribution) -> Label:
        if name not in decisions:
            raise _OpenDecision(name, distribution)
        return decisions[name]

    try:
        return dict(decisions) if reaches(suggest) else None
    except _OpenDecision as decision:
        name, distribution = decision.name, decision.distribution
    countable = not isinstance(distribution, LogUniform)
    labels = distribution.some_labels() if countable else filter(distribution.allows, numbers)
    points = (_search(reaches, {**decisions, name: label}, numbers) for label in labels)
    return next((point for point in points if point is not None), None)


def _may_become(content: Any, target: Any) -> bool:
    """Whether unfinished content may become the target."""
    if content is PENDING:
        return True
    if isinstance(content, dict) and isinstance(target, dict):
        return all(_may_become(value, target[key]) for key, value in content.items() if key in target)
    if isinstance(content, list) and isinstance(target, list):
        return len(content) <= len(target) and all(map(_may_become, content, target))
    return bool(content == target)


def _numbers(content: Any) -> Iterable[float]:
    """All numbers in nested lists and objects."""
    if isinstance(content, dict):
        content = list(content.values())
    if isinstance(content, list):
        for value in content:
            yield from _numbers(value)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield content
