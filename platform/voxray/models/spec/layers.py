"""The layers of the JSON dialect of sequential networks.

Kernels and strides have 2 or 3 numbers, in x, y(, z) order.
"""

from functools import cache
from operator import mul
from typing import Annotated, Literal

from pydantic import Field, StrictBool, model_validator

from voxray.config.validation import Spec

Sizes = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=2, max_length=3, description="x, y or x, y, z")
]
DropOut = Annotated[float, Field(ge=0, lt=100, description="percentage dropped after the activation while training")]
Activation = Literal["relu", "leaky_relu", "elu", "tanh", "sigmoid"] | None
Padding = Literal["same", "centered", "valid"]
Padded = Annotated[
    Padding,
    Field(
        description="same: odd padding goes to the far side; centered: (k - 1) / 2 on both sides; valid: none. "
        "The first two give ceil(size / stride)"
    ),
]


class Convolution(Spec):
    """`C`: a convolution and its activation."""

    type: Literal["C"]
    activation: Activation
    num_output: Annotated[int, Field(ge=1, description="filters")]
    kernel_size: Sizes
    stride: Sizes
    padding: Padded = "same"
    bias: StrictBool = True
    drop_out: DropOut = 0


class Pooling(Spec):
    """`P`: the largest or the mean value of each window; padding never counts."""

    type: Literal["P"]
    pool: Literal["max", "avg"]
    kernel_size: Sizes
    stride: Sizes
    padding: Padded = "same"
    drop_out: DropOut = 0


class Normalization(Spec):
    """`N`: zero mean and unit variance for each channel, a learned scale and shift, and an activation.

    `batch` takes mean and variance of the batch while training, and their running means otherwise (Ioffe and
    Szegedy 2015); `instance` takes those of each patch.
    """

    type: Literal["N"]
    normalization: Literal["batch", "instance"]
    activation: Activation = None
    epsilon: Annotated[float, Field(gt=0, description="added to the variance")] = 1e-5
    momentum: Annotated[
        float, Field(gt=0, le=1, description="weight of the newest batch in the running means; Keras' is 1 minus it")
    ] = 0.1

    @model_validator(mode="after")
    def _fits_together(self) -> "Normalization":
        if self.normalization == "instance" and "momentum" in self.model_fields_set:
            raise ValueError("momentum: is for 'batch'; 'instance' has no running means")
        return self


class Dropout(Spec):
    """`D`: drops values of what comes before, where that has no `drop_out` of its own."""

    type: Literal["D"]
    drop_out: DropOut


class GlobalAverage(Spec):
    """`G`: the mean of each map; dense layers follow."""

    type: Literal["G"]


class Residual(Spec):
    """`R`: what enters is added to what its layers give, before the activation (He et al. 2016)."""

    type: Literal["R"]
    activation: Activation
    layers: "Annotated[tuple[MapLayer, ...], Field(json_schema_extra={'minItems': 1})]"

    @property
    def stride(self) -> tuple[int, ...]:
        """By how much the layers divide each axis together; empty where none of them has a stride."""
        total: tuple[int, ...] = ()
        for layer in self.layers:
            if isinstance(layer, Convolution | Pooling | Residual) and (stride := layer.stride):
                total = tuple(map(mul, total, stride)) if total else stride
        return total

    def filters(self, channels: int) -> int:
        """Channels that the layers make of so many."""
        for layer in self.layers:
            if isinstance(layer, Convolution):
                channels = layer.num_output
            elif isinstance(layer, Residual):
                channels = layer.filters(channels)
        return channels

    def shortcut(self, channels: int) -> "tuple[MapLayer, ...]":
        """What adapts `channels` channels that enter to what the layers give; nothing where they fit as they are.

        It is a convolution of size 1, normalized like the last of the layers that are.
        """
        filters, stride = self.filters(channels), self.stride
        if filters == channels and max(stride, default=1) == 1:
            return ()
        kinds = [layer for layer in self.layers if isinstance(layer, Normalization)]
        # A bias would be taken off again by a normalization.
        return _projection(filters, stride, not kinds), *map(_without_activation, kinds[-1:])


@cache
def _projection(filters: int, stride: tuple[int, ...], bias: bool) -> Convolution:
    """A convolution of size 1."""
    ones = (1,) * len(stride)
    return Convolution(type="C", activation=None, num_output=filters, kernel_size=ones, stride=stride, bias=bias)


def _without_activation(kind: Normalization) -> Normalization:
    return kind if kind.activation is None else kind.model_copy(update={"activation": None})


class Dense(Spec):
    """`FC`: a dense layer; the first one flattens what comes before."""

    type: Literal["FC"]
    activation: Activation
    num_output: Annotated[int, Field(ge=1, description="units")]
    drop_out: DropOut = 0


class Output(Spec):
    """`T`: a logit for each class, or with `sigmoid` one for the second of two.

    The loss takes logits, so `softmax` and null train alike.
    """

    type: Literal["T"]
    activation: Literal["softmax", "sigmoid"] | None

    def units(self, classes: int) -> int:
        """Logits that are computed for so many classes."""
        return 1 if self.activation == "sigmoid" else classes


MapLayer = Annotated[Convolution | Pooling | Normalization | Dropout | Residual, Field(discriminator="type")]
Layer = Convolution | Pooling | Normalization | Dropout | GlobalAverage | Residual | Dense | Output
Residual.model_rebuild()
