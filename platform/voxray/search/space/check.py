"""What the decisions of a space can make is tried out: one decision after the other takes each of its labels.

So a layer that no architecture file may hold is found when the space is read, and named with its place in the space.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pydantic import ValidationError

from voxray.config.experiment import Experiment
from voxray.config.validation import describe_problems, nearest
from voxray.errors import ConfigError
from voxray.models.spec.load import parse_architecture
from voxray.models.spec.sequential import parse_layer
from voxray.search.space.distributions import Distribution, Label, text_of
from voxray.search.space.nodes import Walk
from voxray.search.space.sampling import Sample, Space, grow

# Those of the others decide what is in the store, which all trials share.
TABLES = ("training", "augment", "intensity")
COUNTED = 32  # of a range with more labels only both ends are tried


def check_samples(space: Space) -> tuple[Space, list[str]]:
    """The space with the ranks of inputs that it is good for, or all problems of that rank which has fewer."""
    problems = list(dict.fromkeys(_setting_names(space)))
    found = {spatial_dims: problems + _problems(space, spatial_dims) for spatial_dims in space.ranks}
    good = tuple(spatial_dims for spatial_dims, problems in found.items() if not problems)
    return (replace(space, ranks=good), []) if good else (space, min(found.values(), key=len))


class _Tries:
    """Answers with first labels but for what is fixed, and notes the other labels for later tries."""

    def __init__(self) -> None:
        self.waiting: list[tuple[dict[str, Label], str]] = [({}, "")]
        self.met: dict[int, Distribution] = {}
        self.fixed: dict[str, Label] = {}
        self.before: dict[str, Label] = {}

    def next(self) -> str:
        """Begin another try; returns what is special about it."""
        self.fixed, metadata = self.waiting.pop()
        self.before = {}
        return metadata

    def suggest(self, name: str, distribution: Distribution) -> Label:
        """The label of this try."""
        labels = distribution.some_labels()
        labels = labels if len(labels) <= COUNTED else (labels[0], labels[-1])
        if id(distribution) not in self.met:
            self.met[id(distribution)] = distribution
            self.waiting += [({**self.before, name: each}, f"{name} = {text_of(each)}") for each in labels[1:]]
        self.before[name] = self.fixed.get(name, labels[0])
        return self.before[name]


@dataclass
class _Walk(Walk):
    """A walk that notices when a name stands for two decisions."""

    distributions: dict[str, Distribution] = field(default_factory=dict)

    def ask(self, name: str, distribution: Distribution) -> Any:
        if self.distributions.setdefault(name, distribution) != distribution:
            remedy = "Give one of them another name, by 'let' or the 'name' of a block"
            raise ConfigError(name, "is the name of two different decisions", remedy)
        return super().ask(name, distribution)


def _problems(space: Space, spatial_dims: int) -> list[str]:
    problems: dict[str, None] = {}
    tries = _Tries()
    while tries.waiting:
        metadata = tries.next()
        point, places = _attempt(space, spatial_dims, tries)
        if isinstance(point, ConfigError):
            problems[f"{point.where}: {point.problem}. {point.remedy}"] = None
            continue
        found = [*_layer_problems(point.architecture, places), *_setting_problems(point.settings)]
        problems |= dict.fromkeys(found or _whole_problems(point, spatial_dims, metadata))
    return list(problems)


def _attempt(space: Space, spatial_dims: int, tries: _Tries) -> tuple[Sample | ConfigError, dict[int, str]]:
    """The next sample, and the places of what it holds."""
    places: dict[int, str] = {}
    try:
        return grow(space, _Walk(tries.suggest, spatial_dims, {}, places)), places
    except ConfigError as error:
        return error, places


def _layer_problems(made: Any, places: dict[int, str], *, in_block: bool = False) -> Iterator[str]:
    for number, entry in enumerate(made if isinstance(made, list) else []):
        place = places.get(id(entry), f"architecture[{number}]")
        inner = entry.get("layers") if isinstance(entry, dict) else None
        if inner and isinstance(inner, list):
            yield from _layer_problems(inner, places, in_block=True)
            # What is inside has been looked at, at its own place.
            entry = {**entry, "layers": [{"type": "D", "drop_out": 0}]}
        yield from parse_layer(entry, place, in_block=in_block)[1]


def _whole_problems(point: Sample, spatial_dims: int, metadata: str) -> list[str]:
    when = f", when {metadata}" if metadata else ""
    try:
        found = parse_architecture(point.architecture, "").spatial_dims
    except ConfigError as error:
        lines = error.problem.split("\n  ")
        return [f"architecture{when}: {line}" for line in lines[1:] or [str(error).removeprefix(": ")]]
    return [f"architecture{when}: its kernels are {found}D"] if found not in (None, spatial_dims) else []


def _setting_names(space: Space) -> Iterator[str]:
    for path in space.experiment:
        table, _, key = path.partition(".")
        if table in Experiment.model_fields and table not in TABLES:
            yield f"experiment.{path}: all trials share one store; searched are settings of {', '.join(TABLES)}"
        elif table not in TABLES:
            yield f"experiment.{path}: unknown key path; {nearest(table, TABLES)}"
        elif key not in _spec_of(table).model_fields:
            yield f"experiment.{path}: unknown key; {nearest(key, _spec_of(table).model_fields)}"


def _setting_problems(settings: dict[str, Any]) -> Iterator[str]:
    for path, value in settings.items():
        table, _, key = path.partition(".")
        if table not in TABLES or key not in _spec_of(table).model_fields:
            continue
        try:
            # As strict as an experiment file is.
            _spec_of(table).model_validate_json(json.dumps({key: value}), strict=True)
        except ValidationError as error:
            yield from describe_problems(error, _spec_of(table), f"experiment.{table}")


def _spec_of(table: str) -> Any:
    return Experiment.model_fields[table].annotation
