"""Sequential networks: a JSON list of layers, each an object whose `type` is a key of `models.layers.LAYERS`."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from voxray.config.validation import describe_problems, nearest
from voxray.errors import ConfigFileError
from voxray.models.layers import LAYERS, OUTPUT, block_layers
from voxray.models.layers.base import Layer

MAX_CACHED = 10_000
_CACHE: dict[tuple[bool, str], Layer] = {}


@dataclass(frozen=True)
class Sequential:
    """A checked list of layers."""

    layers: tuple[Layer, ...]

    @property
    def spatial_dims(self) -> int | None:
        """2 or 3 as the kernels say; None where there are none."""
        return next((len(sizes) for _, sizes in _sizes(self.layers)), None)


def parse_sequential(raw: list[Any], where: str) -> Sequential:
    """Check a parsed list of layers.

    Raises
    ------
    ConfigError
        With every problem and its key path, such as ``[3].kernel_size`` or ``[4].layers[0].stride``.
    """
    layers, problems = _parse_layers(raw, "")
    problems += _order_problems(raw)
    problems += _dimension_problems(layers)
    if problems:
        raise ConfigFileError(where, "\n  ".join(["the architecture has problems.", *problems]))
    return Sequential(tuple(layer for layer in layers if layer is not None))


def parse_layer(raw: Any, key_path: str, *, in_block: bool = False) -> tuple[Layer | None, list[str]]:
    """Check a parsed layer.

    Parameters
    ----------
    raw : object
    key_path : str
        Its location in the file, for problems.
    in_block : bool
        Whether it is inside another layer, where not all types are allowed.

    Returns
    -------
    Layer, optional
        None where there are problems.
    list of str
        All problems.
    """
    # Searches parse many networks of few different layers. A representation tells 1 from true, as equality doesn't.
    key = (in_block, repr(raw))
    if (layer := _CACHE.get(key)) is not None and LAYERS.get(layer.type) is type(layer):
        return layer, []
    layer, problems = _parse_new(raw, key_path, block_layers() if in_block else LAYERS)
    if layer is not None and len(_CACHE) < MAX_CACHED:
        _CACHE[key] = layer
    return layer, problems


def _parse_layers(raw: list[Any], key_path: str, *, in_block: bool = False) -> tuple[list[Layer | None], list[str]]:
    """The layers, None for each that has a problem, and all problems."""
    parsed = [parse_layer(entry, f"{key_path}[{number}]", in_block=in_block) for number, entry in enumerate(raw)]
    return [layer for layer, _ in parsed], [problem for _, problems in parsed for problem in problems]


def _parse_new(raw: Any, key_path: str, allowed: dict[str, type[Layer]]) -> tuple[Layer | None, list[str]]:
    spec = _layer_type(raw)
    if spec is None or spec not in allowed.values():
        return None, [f"{key_path}{_type_problem(raw, allowed)}"]
    problems: list[str] = []
    if "layers" in spec.model_fields and isinstance(raw.get("layers"), list):
        # Parsed one by one, so that their problems have the same form as those outside of blocks.
        inner, problems = _parse_layers(raw["layers"], f"{key_path}.layers", in_block=True)
        problems += [] if inner else [f"{key_path}.layers: is empty; give one layer or more"]
        raw = {**raw, "layers": [layer for layer in inner if layer is not None]}
    try:
        layer = spec.model_validate(raw)
    except ValidationError as error:
        return None, [*problems, *describe_problems(error, spec, key_path)]
    return None if problems else layer, problems


def _layer_type(raw: Any) -> type[Layer] | None:
    name = raw.get("type") if isinstance(raw, dict) else None
    return LAYERS.get(name) if isinstance(name, str) else None


def _type_problem(raw: Any, allowed: dict[str, type[Layer]]) -> str:
    if not isinstance(raw, dict):
        return f": expected an object, got {raw!r}"
    if "type" not in raw:
        return f".type: missing; known: {', '.join(allowed)}"
    if _layer_type(raw):
        return f".type: '{raw['type']}' cannot stand in a residual block; known: {', '.join(allowed)}"
    return f".type: unknown layer type {raw['type']!r}; {nearest(str(raw['type']), allowed)}"


def _order_problems(raw: list[Any]) -> Iterator[str]:
    """Layers after the output layer, and layers that need maps where there are none."""
    output: int | None = None
    end: int | None = None
    for number, layer in enumerate(map(_layer_type, raw)):
        if layer is None:
            continue
        if layer is LAYERS[OUTPUT]:
            output = number
            if number + 1 < len(raw):
                yield f"[{number}].type: nothing may follow the output layer '{OUTPUT}'"
        elif end is not None and layer.needs_maps:
            name, last = raw[number]["type"], raw[end]["type"]
            yield f"[{number}].type: '{name}' comes after '{last}' [{end}], where there is no map left"
        elif end is None and layer.ends_maps:
            end = number
    if output is None:
        yield f"no output layer: the last layer must be of type '{OUTPUT}'"


def _dimension_problems(layers: Sequence[Layer | None]) -> Iterator[str]:
    first: tuple[str, int] | None = None
    for key_path, sizes in _sizes(layers):
        first = first or (key_path, len(sizes))
        if len(sizes) != first[1]:
            yield f"{key_path}: has {len(sizes)} numbers where {first[0]} has {first[1]}; 2D or 3D, not both"


def _sizes(layers: Sequence[Layer | None], key_path: str = "") -> Iterator[tuple[str, tuple[int, ...]]]:
    """The kernels and strides of the layers, each with its key path."""
    for number, layer in enumerate(layers):
        keys = vars(layer) if layer else {}
        for key in ("kernel_size", "stride"):
            if key in keys:
                yield f"{key_path}[{number}].{key}", keys[key]
        if "layers" in keys:
            yield from _sizes(keys["layers"], f"{key_path}[{number}].layers")
