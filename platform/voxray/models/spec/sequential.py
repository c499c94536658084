"""Sequential networks: a JSON list of layers, each an object whose `type` says which of `config.layers` it is."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from voxray.config.validation import describe_problems, nearest
from voxray.errors import ConfigFileError
from voxray.models.spec.layers import (
    Convolution,
    Dense,
    Dropout,
    GlobalAverage,
    Layer,
    Normalization,
    Output,
    Pooling,
    Residual,
)

Known = Mapping[str, type[Layer]]
IN_BLOCKS: Known = {"C": Convolution, "P": Pooling, "N": Normalization, "D": Dropout, "R": Residual}
LAYERS: Known = {**IN_BLOCKS, "G": GlobalAverage, "FC": Dense, "T": Output}
MAPS_END = ("G", "FC")
MOST_MET = 10_000
_MET: dict[tuple[bool, str], Layer] = {}
NEED_MAPS = ("C", "P", "N", "R", "G")


@dataclass(frozen=True)
class Sequential:
    """A checked list of layers."""

    layers: tuple[Layer, ...]

    @property
    def spatial_dims(self) -> int | None:
        """2 or 3 as the kernels say; None where there are none."""
        return next((len(layer.kernel_size) for _, layer in _sized(self.layers)), None)


def parse_sequential(raw: list[Any], where: str) -> Sequential:
    """Check a parsed list of layers.

    Raises
    ------
    ConfigError
        With every problem and its place, such as ``[3].kernel_size`` or ``[4].layers[0].stride``.
    """
    layers, problems = _parse_layers(raw, "", LAYERS)
    problems += _order_problems([entry.get("type") if isinstance(entry, dict) else None for entry in raw])
    problems += _rank_problems(layers)
    if problems:
        raise ConfigFileError(where, "\n  ".join(["the architecture has problems.", *problems]))
    return Sequential(tuple(layer for layer in layers if layer is not None))


def _parse_layers(raw: list[Any], place: str, known: Known) -> tuple[list[Layer | None], list[str]]:
    """The layers, None for each that has a problem, and all problems."""
    parsed = [parse_layer(entry, f"{place}[{number}]", known) for number, entry in enumerate(raw)]
    return [layer for layer, _ in parsed], [problem for _, problems in parsed for problem in problems]


def parse_layer(entry: Any, place: str, known: Known) -> tuple[Layer | None, list[str]]:
    """A layer at its place, or None and its problems; `known` are the types that may stand there."""
    # Searches parse many networks of few different layers. A representation tells 1 from true, as equality doesn't.
    key = (known is IN_BLOCKS, repr(entry))
    if (met := _MET.get(key)) is not None:
        return met, []
    layer, problems = _parse_new(entry, place, known)
    if layer is not None and len(_MET) < MOST_MET:
        _MET[key] = layer
    return layer, problems


def _parse_new(entry: Any, place: str, known: Known) -> tuple[Layer | None, list[str]]:
    if not isinstance(entry, dict):
        return None, [f"{place}: wants an object, got {entry!r}"]
    if "type" not in entry:
        return None, [f"{place}.type: missing; known: {', '.join(known)}"]
    kind = entry["type"]
    if kind in ("G", "FC", "T") and kind not in known:
        return None, [f"{place}.type: '{kind}' cannot stand in a residual block; known: {', '.join(known)}"]
    spec = known.get(kind) if isinstance(kind, str) else None
    if spec is None:
        return None, [f"{place}.type: unknown layer type {kind!r}; {nearest(str(kind), known)}"]
    problems: list[str] = []
    if spec is Residual and isinstance(entry.get("layers"), list):
        # One by one, so that a problem is named as it is outside of blocks.
        inner, problems = _parse_layers(entry["layers"], f"{place}.layers", IN_BLOCKS)
        problems += [] if inner else [f"{place}.layers: is empty; give one layer or more"]
        entry = {**entry, "layers": [layer for layer in inner if layer is not None]}
    try:
        layer = spec.model_validate(entry)
    except ValidationError as error:
        return None, [*problems, *describe_problems(error, spec, place)]
    return None if problems else layer, problems


def _order_problems(types: list[Any]) -> list[str]:
    outputs = [number for number, kind in enumerate(types) if kind == "T"]
    if not outputs:
        return ["no output layer: the last layer must be of type 'T'"]
    problems = [
        f"[{number}].type: nothing may follow the output layer 'T'" for number in outputs if number + 1 < len(types)
    ]
    end = next((number for number, kind in enumerate(types) if kind in MAPS_END), len(types))
    problems += [
        f"[{number}].type: '{kind}' comes after '{types[end]}' [{end}], where there is no map left"
        for number, kind in enumerate(types)
        if kind in NEED_MAPS and number > end
    ]
    return problems


def _rank_problems(layers: Sequence[Layer | None]) -> list[str]:
    problems = []
    expected: tuple[int, str] | None = None
    for place, layer in _sized(layers):
        for key in ("kernel_size", "stride"):
            spatial_dims, here = len(getattr(layer, key)), f"{place}.{key}"
            expected = expected or (spatial_dims, here)
            if spatial_dims != expected[0]:
                problems.append(
                    f"{here}: has {spatial_dims} numbers where {expected[1]} has {expected[0]}; 2D or 3D, not both"
                )
    return problems


def _sized(layers: Sequence[Layer | None], place: str = "") -> Iterator[tuple[str, Convolution | Pooling]]:
    """The layers that have a kernel, each with its place."""
    for number, layer in enumerate(layers):
        here = f"{place}[{number}]"
        if isinstance(layer, Convolution | Pooling):
            yield here, layer
        elif isinstance(layer, Residual):
            yield from _sized(layer.layers, f"{here}.layers")
