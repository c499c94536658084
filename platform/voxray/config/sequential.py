"""The JSON dialect of sequential networks: a list of layers, each an object.

`C` convolution, `P` pooling, `FC` dense, `T` output. Kernels and strides have 2 or 3 numbers, in x, y(, z) order.
Padding is SAME everywhere: output = ceil(size / stride), odd padding goes to the far side.
"""

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from voxray.config.checking import Spec, describe_problems, nearest
from voxray.errors import ConfigFileError

Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=3, description="x, y or x, y, z")
]
DropOut = Annotated[float, Field(ge=0, lt=100, description="percentage dropped after the activation while training")]
Activation = Literal["relu", "leaky_relu", "elu", "tanh", "sigmoid"] | None


class Convolution(Spec):
    """`C`: a convolution and its activation."""

    type: Literal["C"]
    activation: Activation
    num_output: Annotated[int, Field(ge=1, description="filters")]
    kernel_size: Sizes
    stride: Sizes
    drop_out: DropOut = 0


class Pooling(Spec):
    """`P`: the largest or the mean value of each window; padding never counts."""

    type: Literal["P"]
    pool: Literal["max", "avg"]
    kernel_size: Sizes
    stride: Sizes
    drop_out: DropOut = 0


class Dense(Spec):
    """`FC`: a dense layer; the first one flattens what comes before."""

    type: Literal["FC"]
    activation: Activation
    num_output: Annotated[int, Field(ge=1, description="units")]
    drop_out: DropOut = 0


class Output(Spec):
    """`T`: one number for each class. The loss takes logits, so `softmax` and null train alike."""

    type: Literal["T"]
    activation: Literal["softmax"] | None


Layer = Convolution | Pooling | Dense | Output
LAYERS: dict[str, type[Layer]] = {"C": Convolution, "P": Pooling, "FC": Dense, "T": Output}


@dataclass(frozen=True)
class Sequential:
    """A checked list of layers."""

    layers: tuple[Layer, ...]

    @property
    def rank(self) -> int | None:
        """2 or 3 as the kernels say; None where there are only dense layers."""
        sizes = (layer.kernel_size for layer in self.layers if isinstance(layer, Convolution | Pooling))
        return next((len(size) for size in sizes), None)


def parse_sequential(raw: list[Any], where: str) -> Sequential:
    """Check a parsed list of layers.

    Raises
    ------
    ConfigError
        With every problem and its place, such as ``[3].kernel_size``.
    """
    layers, problems = [], []
    for number, entry in enumerate(raw):
        layer, found = _parse_layer(entry, f"[{number}]")
        problems += found
        layers.append(layer)
    problems += _order_problems([entry.get("type") if isinstance(entry, dict) else None for entry in raw])
    problems += _rank_problems(layers)
    if problems:
        raise ConfigFileError(where, "\n  ".join(["the architecture has problems.", *problems]))
    return Sequential(tuple(layer for layer in layers if layer is not None))


def _parse_layer(entry: Any, place: str) -> tuple[Layer | None, list[str]]:
    if not isinstance(entry, dict):
        return None, [f"{place}: wants an object, got {entry!r}"]
    if "type" not in entry:
        return None, [f"{place}.type: missing; known: {', '.join(LAYERS)}"]
    spec = LAYERS.get(entry["type"]) if isinstance(entry["type"], str) else None
    if spec is None:
        return None, [f"{place}.type: unknown layer type {entry['type']!r}; {nearest(str(entry['type']), LAYERS)}"]
    try:
        return spec.model_validate(entry), []
    except ValidationError as error:
        return None, describe_problems(error, spec, place)


def _order_problems(types: list[Any]) -> list[str]:
    outputs = [number for number, kind in enumerate(types) if kind == "T"]
    if not outputs:
        return ["no output layer: the last layer must be of type 'T'"]
    problems = [
        f"[{number}].type: nothing may follow the output layer 'T'" for number in outputs if number + 1 < len(types)
    ]
    dense = types.index("FC") if "FC" in types else len(types)
    problems += [
        f"[{number}].type: '{kind}' comes after the dense layer [{dense}], where there is no map left"
        for number, kind in enumerate(types)
        if kind in ("C", "P") and number > dense
    ]
    return problems


def _rank_problems(layers: list[Layer | None]) -> list[str]:
    problems = []
    expected: tuple[int, str] | None = None
    for number, layer in enumerate(layers):
        if not isinstance(layer, Convolution | Pooling):
            continue
        for key in ("kernel_size", "stride"):
            rank = len(getattr(layer, key))
            place = f"[{number}].{key}"
            expected = expected or (rank, place)
            if rank != expected[0]:
                problems.append(
                    f"{place}: has {rank} numbers where {expected[1]} has {expected[0]}; 2D or 3D, not both"
                )
    return problems
