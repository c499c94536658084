"""The JSON dialect of U-Nets: an object ``{"type": "unet", …}``.

Sizes have 2 or 3 numbers, in x, y(, z) order. Convolutions are padded and keep the size, a step down divides it by its
stride and rounds up, and a step up restores the size of the skip connection that it is concatenated with.
"""

import re
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Discriminator, Field, StrictBool, Tag, ValidationError, model_validator

from voxray.config.validation import Spec, describe_problems
from voxray.errors import ConfigFileError
from voxray.models.layers.base import Count, Shape, Sizes
from voxray.models.layers.dropout import DropoutKeys

Filters = Annotated[tuple[Count, ...], Field(min_length=1, description="filters of each convolution of a level")]
# Pydantic writes of tuples, and adds the tags of a union to key paths.
REWORDED = (
    (re.compile(r"^(\w+)\.(?:one|each)\b"), r"\1"),
    (re.compile(r"should be a valid tuple"), "should be a list"),
    (
        re.compile(r"Tuple should have at (least|most) (\d+) items? after validation, not (\d+)"),
        r"should have at \1 \2",
    ),
)


def _form(value: Any) -> str:
    """Whether a size is given once or for each level."""
    nested = isinstance(value, list | tuple) and any(isinstance(entry, list | tuple) for entry in value)
    return "each" if nested else "one"


PerLevel = Annotated[
    Annotated[Sizes, Tag("one")] | Annotated[tuple[Sizes, ...], Tag("each")],
    Discriminator(_form),
]


class DownLevel(NamedTuple):
    """A level on the way down: optional max pooling, then convolutions.

    Attributes
    ----------
    key_path : str
    channels : int
        Of the input.
    filters, kernel : tuple of int
    pool : tuple of int, optional
        Stride of the pooling before it.
    stride : tuple of int
        Of the first convolution.
    """

    key_path: str
    channels: int
    filters: Shape
    kernel: Shape
    pool: Shape | None
    stride: Shape


class UpLevel(NamedTuple):
    """A level on the way up: upsampling, concatenation with a skip connection, then convolutions.

    Attributes
    ----------
    key_path : str
    skip : int
        The level of ``down`` that the skip connection comes from.
    channels, upsampled, joined : int
        Channels of the input, after upsampling and after concatenation.
    filters, kernel : tuple of int
    scale : tuple of int
        Factors of the upsampling.
    has_output : bool
        Whether the network computes logits from it.
    """

    key_path: str
    skip: int
    channels: int
    upsampled: int
    joined: int
    filters: Shape
    kernel: Shape
    scale: Shape
    has_output: bool


class UNetOutput(Spec):
    """The meaning of the logits: `sigmoid` has a channel for each foreground class, `softmax` one for each class."""

    activation: Literal["sigmoid", "softmax"]


class UNet(DropoutKeys):
    """A U-Net (Ronneberger et al. 2015, Çiçek et al. 2016): down, up with skip connections, convolution to logits."""

    type: Literal["unet"]
    dimensions: Literal[2, 3]
    down: Annotated[tuple[Filters, ...], Field(min_length=2, description="from the input to the bottleneck")]
    up: Annotated[tuple[Filters, ...], Field(min_length=1, description="from deep to shallow, one fewer than down")]
    kernel_size: Annotated[
        PerLevel | None, Field(description="of all levels, or a list with that of each level of down; default 3s")
    ] = None
    pool: Annotated[
        PerLevel | None, Field(description="stride of all steps down, or a list with that of each step; default 2s")
    ] = None
    pooling: Annotated[
        Literal["max", "stride"], Field(description="stride: the first convolution of a level makes the step")
    ] = "max"
    upsampling: Literal["nearest", "linear", "transposed"] = "nearest"
    normalization: Annotated[
        Literal["none", "batch", "instance"], Field(description="between a convolution and its activation")
    ] = "none"
    activation: Literal["relu", "leaky_relu", "elu", "tanh"] = "relu"
    residual: Annotated[StrictBool, Field(description="adds the input of a level to its output")] = False
    deep_supervision: Annotated[StrictBool, Field(description="while training, logits at every level of up")] = False
    output: UNetOutput

    @model_validator(mode="after")
    def _fits_together(self) -> "UNet":
        if problems := list(_level_problems(self.model_dump())):
            raise ValueError("\n  ".join(problems))
        return self

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return self.dimensions

    @cached_property
    def ones(self) -> Shape:
        """A kernel or stride of size 1."""
        return (1,) * self.dimensions

    @cached_property
    def kernels(self) -> tuple[Shape, ...]:
        """The kernel of each level of `down`; a level of `up` has that of its skip connection."""
        return _for_each(self.kernel_size, len(self.down), (3,) * self.dimensions)

    @cached_property
    def strides(self) -> tuple[Shape, ...]:
        """The stride of each step down."""
        return _for_each(self.pool, len(self.down) - 1, (2,) * self.dimensions)

    def channels(self, classes: int) -> int:
        """Channels of the logits for so many classes, background included."""
        return classes - 1 if self.output.activation == "sigmoid" else classes

    def down_levels(self, channels: int) -> Iterator[DownLevel]:
        """The levels from the input, which has so many channels, to the bottleneck."""
        is_pooled, ones = self.pooling == "max", self.ones
        levels = zip(self.down, self.kernels, (None, *self.strides), strict=True)
        for number, (filters, kernel, step) in enumerate(levels):
            pool, stride = (step, None) if is_pooled else (None, step)
            yield DownLevel(f"down[{number}]", channels, filters, kernel, pool, stride or ones)
            channels = filters[-1]

    def up_levels(self) -> Iterator[UpLevel]:
        """The levels from the bottleneck to the output."""
        channels, kernels, strides = self.down[-1][-1], self.kernels, self.strides
        for number, filters in enumerate(self.up):
            skip = len(self.up) - 1 - number
            skip_channels = self.down[skip][-1]
            upsampled = skip_channels if self.upsampling == "transposed" else channels
            joined, has_output = upsampled + skip_channels, self.deep_supervision or skip == 0
            sizes = filters, kernels[skip], strides[skip]
            yield UpLevel(f"up[{number}]", skip, channels, upsampled, joined, *sizes, has_output)
            channels = filters[-1]

    def has_projection(self, channels: int, filters: int, stride: Shape) -> bool:
        """Whether a convolution of size 1 adapts the input of a level before it is added to the output."""
        return self.residual and (channels != filters or max(stride) > 1)


def parse_unet(raw: Mapping[str, Any], where: str) -> UNet:
    """Check a parsed U-Net.

    Raises
    ------
    ConfigError
        With every problem and its key path, such as ``down[2][0]``.
    """
    try:
        return UNet.model_validate(raw)
    except ValidationError as error:
        problems = _reword(describe_problems(error, UNet))
        if any(detail["loc"] for detail in error.errors()):
            # Pydantic compares keys with each other only if each of them is valid.
            problems += _level_problems(raw)
    raise ConfigFileError(where, "\n  ".join(["the architecture has problems.", *problems]))


def _reword(lines: list[str]) -> list[str]:
    for pattern, words in REWORDED:
        lines = [pattern.sub(words, line) for line in lines]
    # Pydantic counts valid entries only, so a list with an invalid one may be too short for it.
    entries = {line.partition(":")[0].rpartition("[")[0] for line in lines}
    return [line for line in lines if ": should have at least" not in line or line.partition(":")[0] not in entries]


def _for_each(sizes: Any, count: int, default: Shape) -> tuple[Shape, ...]:
    if sizes is None:
        return (default,) * count
    return sizes if isinstance(sizes[0], tuple) else (sizes,) * count


def _level_problems(raw: Mapping[str, Any]) -> Iterator[str]:
    """Contradictions between keys, as far as the values have the right type."""
    down, up = (len(raw[key]) if isinstance(raw.get(key), list | tuple) else 0 for key in ("down", "up"))
    down = 0 if down < 2 else down
    if down and up and up != down - 1:
        yield f"up: expected {down - 1} levels, one fewer than down, from deep to shallow, got {up}"
    if up == 1 and raw.get("deep_supervision") is True:
        yield "deep_supervision: needs 2 levels of up or more, got 1: there is no coarser output"
    yield from _size_problems(raw, "kernel_size", down, "level")
    yield from _size_problems(raw, "pool", down - 1, "step")


def _size_problems(raw: Mapping[str, Any], key: str, count: int, noun: str) -> Iterator[str]:
    sizes = raw.get(key)
    if not isinstance(sizes, list | tuple):
        return
    if _form(sizes) == "one":
        yield from _dimension_problems(raw, sizes, key)
        return
    for number, entry in enumerate(sizes):
        yield from _dimension_problems(raw, entry, f"{key}[{number}]")
    if count > 0 and len(sizes) != count:
        yield f"{key}: expected one entry for each {noun} of down, {count}, got {len(sizes)}"


def _dimension_problems(raw: Mapping[str, Any], sizes: Any, key_path: str) -> Iterator[str]:
    dimensions, numbers = raw.get("dimensions"), len(sizes) if isinstance(sizes, list | tuple) else 0
    # Other numbers are reported by themselves.
    if dimensions in (2, 3) and numbers in (2, 3) and numbers != dimensions:
        yield f"{key_path}: has {numbers} numbers where dimensions is {dimensions}"
