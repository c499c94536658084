"""Checks of a space by trial: one decision after the other takes each of its labels.

So layers that no architecture file may hold are reported when the space is read, with their key path in the space.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from voxray.config.experiment import Experiment
from voxray.config.validation import Spec, describe_problems, nearest
from voxray.errors import ConfigError
from voxray.metrics.registry import find_metric
from voxray.models.spec.load import parse_architecture
from voxray.models.spec.sequential import parse_layer
from voxray.search.space.distributions import Distribution, Label, text_of
from voxray.search.space.nodes import Walk
from voxray.search.space.sampling import Sample, Space, sample_walk
from voxray.training.losses import find_loss

# The other tables determine the store, which all trials share.
TABLES = ("training", "augment", "intensity")
MAX_LABELS = 32  # of a range with more labels only both ends are tried


def check_samples(space: Space) -> tuple[Space, list[str]]:
    """Determine for which input dimensions a space is valid.

    Returns
    -------
    Space
        With those dimensions.
    list of str
        If there are none: the problems for the dimensions with fewer of them.
    """
    names = list(dict.fromkeys(_setting_name_problems(space)))
    problems = {spatial_dims: names + _sample_problems(space, spatial_dims) for spatial_dims in space.spatial_dims}
    valid = tuple(spatial_dims for spatial_dims, lines in problems.items() if not lines)
    return (replace(space, spatial_dims=valid), []) if valid else (space, min(problems.values(), key=len))


class _LabelSweep:
    """Suggests first labels, but for one decision; queues the other labels of each new decision."""

    def __init__(self) -> None:
        self.queue: list[tuple[dict[str, Label], str]] = [({}, "")]
        self.seen: dict[int, Distribution] = {}
        self.fixed: dict[str, Label] = {}
        self.decided: dict[str, Label] = {}

    def next(self) -> str:
        """Begin the next sample; returns which label it is for."""
        self.fixed, label = self.queue.pop()
        self.decided = {}
        return label

    def suggest(self, name: str, distribution: Distribution) -> Label:
        """The label in this sample."""
        labels = distribution.some_labels()
        labels = labels if len(labels) <= MAX_LABELS else (labels[0], labels[-1])
        if id(distribution) not in self.seen:
            self.seen[id(distribution)] = distribution
            self.queue += [({**self.decided, name: label}, f"{name} = {text_of(label)}") for label in labels[1:]]
        self.decided[name] = self.fixed.get(name, labels[0])
        return self.decided[name]


@dataclass
class _CheckedWalk(Walk):
    """A walk that raises where a name stands for two decisions."""

    distributions: dict[str, Distribution] = field(default_factory=dict)

    def decide(self, name: str, distribution: Distribution) -> Any:
        if self.distributions.setdefault(name, distribution) != distribution:
            remedy = "Give one of them another name, by 'let' or the 'name' of a block"
            raise ConfigError(name, "is the name of two different decisions", remedy)
        return super().decide(name, distribution)


def _sample_problems(space: Space, spatial_dims: int) -> list[str]:
    problems: dict[str, None] = {}
    sweep = _LabelSweep()
    while sweep.queue:
        label = sweep.next()
        key_paths: dict[int, str] = {}
        try:
            point = sample_walk(space, _CheckedWalk(sweep.suggest, spatial_dims, {}, key_paths))
        except ConfigError as error:
            problems[f"{error.where}: {error.problem}. {error.remedy}"] = None
            continue
        lines = [*_layer_problems(point.architecture, key_paths), *_setting_problems(point)]
        problems |= dict.fromkeys(lines or _network_problems(point, spatial_dims, label))
    return list(problems)


def _layer_problems(content: Any, key_paths: dict[int, str], *, in_block: bool = False) -> Iterator[str]:
    for number, entry in enumerate(content if isinstance(content, list) else []):
        key_path = key_paths.get(id(entry), f"architecture[{number}]")
        inner = entry.get("layers") if isinstance(entry, dict) else None
        if inner and isinstance(inner, list):
            yield from _layer_problems(inner, key_paths, in_block=True)
            # The inner layers are checked by then, with key paths of their own.
            entry = {**entry, "layers": [{"type": "D", "drop_out": 0}]}
        yield from parse_layer(entry, key_path, in_block=in_block)[1]


def _network_problems(point: Sample, spatial_dims: int, label: str) -> list[str]:
    when = f", when {label}" if label else ""
    try:
        kernel_dims = parse_architecture(point.architecture, "").spatial_dims
    except ConfigError as error:
        lines = error.problem.split("\n  ")
        return [f"architecture{when}: {line}" for line in lines[1:] or [str(error).removeprefix(": ")]]
    return [f"architecture{when}: its kernels are {kernel_dims}D"] if kernel_dims not in (None, spatial_dims) else []


def _setting_name_problems(space: Space) -> Iterator[str]:
    for path in space.experiment:
        table, _, key = path.partition(".")
        if path == "augment.crop":
            yield f"experiment.{path}: all trials have inputs of one size; set it in the experiment"
        elif table in TABLES:
            keys = _spec_of(table).model_fields
            if key not in keys:
                yield f"experiment.{path}: unknown key; {nearest(key, keys)}"
        elif table in Experiment.model_fields:
            yield f"experiment.{path}: all trials share one store; searched are settings of {', '.join(TABLES)}"
        else:
            yield f"experiment.{path}: unknown key path; {nearest(table, TABLES)}"


def _setting_problems(point: Sample) -> Iterator[str]:
    for path, value in point.settings.items():
        table, _, key = path.partition(".")
        if table in TABLES and key in _spec_of(table).model_fields:
            yield from _value_problems(table, key, value) or _name_problems(path, value, point)


def _value_problems(table: str, key: str, value: Any) -> list[str]:
    try:
        # As strict as for an experiment file.
        _spec_of(table).model_validate_json(json.dumps({key: value}), strict=True)
    except ValidationError as error:
        return describe_problems(error, _spec_of(table), f"experiment.{table}")
    return []


def _name_problems(path: str, value: Any, point: Sample) -> list[str]:
    """A loss or metric that doesn't exist."""
    try:
        if path == "training.loss":
            find_loss(value, "classification" if isinstance(point.architecture, list) else "segmentation")
        elif path.endswith("monitor") and value is not None:
            find_metric(value)
    except ConfigError as error:
        return [f"experiment.{path}: {error.problem}"]
    return []


def _spec_of(table: str) -> type[Spec]:
    spec: Any = Experiment.model_fields[table].annotation
    return spec  # type: ignore[no-any-return]
