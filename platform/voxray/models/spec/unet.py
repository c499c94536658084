"""The JSON dialect of U-Nets: an object ``{"type": "unet", …}``.

Sizes have 2 or 3 numbers, in x, y(, z) order. Padding is SAME everywhere: a convolution keeps the size, a step down
divides it by its stride and rounds up, and a step up ends at the size of the skip that it is joined with.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictBool, Tag, ValidationError, model_validator

from voxray.config.validation import Spec, describe_problems
from voxray.errors import ConfigFileError
from voxray.models.layers.base import Sizes
from voxray.models.layers.dropout import DropoutKeys

Filters = Annotated[
    tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1, description="filters of each convolution of a level")
]
Levels = tuple[tuple[int, ...], ...]
# Pydantic speaks of tuples, and puts the tags of a union into key paths, where no user would look for them.
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


class UNetOutput(Spec):
    """What the logits mean: `sigmoid` is a channel for each class but the background, `softmax` one for each."""

    activation: Literal["sigmoid", "softmax"]


class UNet(DropoutKeys):
    """A U-Net (Ronneberger et al. 2015, Çiçek et al. 2016): down, up with skips, 1³ convolution to the classes."""

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
    residual: Annotated[StrictBool, Field(description="adds what enters a level to what leaves it")] = False
    deep_supervision: Annotated[StrictBool, Field(description="while training, logits at every level of up")] = False
    output: UNetOutput

    @model_validator(mode="after")
    def _fits_together(self) -> "UNet":
        if problems := _level_problems(self.model_dump()):
            raise ValueError("\n  ".join(problems))
        return self

    @property
    def spatial_dims(self) -> int:
        """2 or 3."""
        return self.dimensions

    @property
    def kernels(self) -> Levels:
        """The kernel of each level of `down`; a level of `up` takes that of the level it is joined with."""
        return _for_each(self.kernel_size, len(self.down), (3,) * self.dimensions)

    @property
    def strides(self) -> Levels:
        """The stride of each step down."""
        return _for_each(self.pool, len(self.down) - 1, (2,) * self.dimensions)

    def channels(self, classes: int) -> int:
        """Channels of the logits for so many classes, background included."""
        return classes - 1 if self.output.activation == "sigmoid" else classes


def parse_unet(raw: Mapping[str, Any], where: str) -> UNet:
    """Check a parsed U-Net.

    Raises
    ------
    ConfigError
        With every problem and its place, such as ``down[2][0]``.
    """
    try:
        return UNet.model_validate(raw)
    except ValidationError as error:
        problems = _reword(describe_problems(error, UNet))
        if any(finding["loc"] for finding in error.errors()):
            # Pydantic compares keys with each other only where each is right by itself.
            problems += _level_problems(raw)
    raise ConfigFileError(where, "\n  ".join(["the architecture has problems.", *problems]))


def _reword(lines: list[str]) -> list[str]:
    for pattern, words in REWORDED:
        lines = [pattern.sub(words, line) for line in lines]
    # A list whose entries are wrong is too short in pydantic's eyes, which counts the right ones.
    entries = {line.partition(":")[0].rpartition("[")[0] for line in lines}
    return [line for line in lines if ": should have at least" not in line or line.partition(":")[0] not in entries]


def _for_each(sizes: tuple[int, ...] | Levels | None, count: int, default: tuple[int, ...]) -> Levels:
    if sizes is None:
        return (default,) * count
    return sizes if isinstance(sizes[0], tuple) else (sizes,) * count


def _level_problems(raw: Mapping[str, Any]) -> list[str]:
    """What does not fit together, as far as the values are of the right kind."""
    down, up = (len(raw[key]) if isinstance(raw.get(key), list | tuple) else 0 for key in ("down", "up"))
    problems = []
    if down > 1 and up and up != down - 1:
        problems.append(f"up: wants {down - 1} levels, one fewer than down, from deep to shallow; has {up}")
    if up == 1 and raw.get("deep_supervision") is True:
        problems.append("deep_supervision: wants 2 levels of up or more, has 1: there is no coarser output")
    for key, wanted in (("kernel_size", down), ("pool", down - 1)):
        sizes = raw.get(key)
        if not isinstance(sizes, list | tuple):
            continue
        if _form(sizes) == "one":
            problems += _rank_problems(raw, sizes, key)
            continue
        for number, entry in enumerate(sizes):
            problems += _rank_problems(raw, entry, f"{key}[{number}]")
        if down > 1 and len(sizes) != wanted:
            each = "level" if key == "kernel_size" else "step"
            problems.append(f"{key}: wants one entry for each {each} of down, {wanted}; has {len(sizes)}")
    return problems


def _rank_problems(raw: Mapping[str, Any], sizes: Any, place: str) -> list[str]:
    spatial_dims = raw.get("dimensions")
    # Other lengths are no sizes at all and are named as such.
    if (
        spatial_dims not in (2, 3)
        or not isinstance(sizes, list | tuple)
        or len(sizes) not in (2, 3)
        or len(sizes) == spatial_dims
    ):
        return []
    return [f"{place}: has {len(sizes)} numbers where dimensions is {spatial_dims}"]
