"""The interface of a layer: what its class states about shapes, parameters, cost and its torch module."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal, NamedTuple, TypeAlias

from pydantic import Field

from voxray.config.validation import Spec
from voxray.models.cost.operations import Operations, Value

if TYPE_CHECKING:
    from torch import nn

Shape = tuple[int, ...]
Modules: TypeAlias = "list[nn.Module]"
Activation = Literal["relu", "leaky_relu", "elu", "tanh", "sigmoid"] | None
# Strict: a text or a flag in place of a number is a mistake.
Count = Annotated[int, Field(ge=1, strict=True)]
Sizes = Annotated[tuple[Count, ...], Field(min_length=2, max_length=3, description="x, y or x, y, z")]


class Step(NamedTuple):
    """A layer of a network with the shapes of its input and output: (channel, x, y[, z]) or (units,).

    A size is 0 from the layer on where the axis shrinks to nothing.

    Attributes
    ----------
    key_path : str
        Location in the architecture file, such as ``[4].layers[0]``.
    layer : Layer
    entering, leaving : tuple of int
    branches : tuple of tuple of Step
        Steps inside the layer, one sequence for each branch that receives the input.
    """

    key_path: str
    layer: "Layer"
    entering: Shape
    leaving: Shape
    branches: tuple[tuple["Step", ...], ...] = ()


class Layer(Spec):
    """A layer of a sequential network, as an architecture file states it.

    A subclass adds its keys as fields, ``type`` first, and overrides the methods below. It must not import torch when
    it is defined: architecture files are read and costs are estimated without it.

    Attributes
    ----------
    type : str
        The name of the layer in architecture files; its key in `LAYERS`.
    label : str
        The type in words, for people.
    needs_maps : bool
        Whether the input must have spatial axes.
    ends_maps : bool
        Whether the output has none. Such a layer cannot stand in a residual block.
    """

    type: str
    label: ClassVar[str]
    needs_maps: ClassVar[bool] = True
    ends_maps: ClassVar[bool] = False

    def output_shape(self, shape: Shape, classes: int) -> Shape:
        """Shape of the output for an input of `shape`; unchanged unless overridden."""
        return shape

    def walk(self, key_path: str, shape: Shape, classes: int) -> Step:
        """The step of this layer for an input of `shape`."""
        return Step(key_path, self, shape, self.output_shape(shape, classes))

    def problems(self, step: Step) -> Sequence[str]:
        """Reasons why the layer cannot process its input, each with its key path."""
        return ()

    def count_parameters(self, step: Step) -> int:
        """Trainable parameters of the layer itself, without those of its branches."""
        return 0

    def describe(self) -> str:
        """Kernel, stride and other settings in words."""
        return ""

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        """Add what the layer computes to `network`; returns its output."""
        raise NotImplementedError

    def build(self, shape: Shape, classes: int) -> Modules:
        """Torch modules that run one after the other on an input of (n, *shape)."""
        raise NotImplementedError


def walk_layers(layers: Sequence[Layer], shape: Shape, classes: int, key_path: str = "") -> Iterator[Step]:
    """Follow a shape through layers."""
    for number, layer in enumerate(layers):
        step = layer.walk(f"{key_path}[{number}]", shape, classes)
        yield step
        shape = step.leaving


def in_order(steps: Iterable[Step]) -> Iterator[Step]:
    """Steps in the order in which they run; those of a layer's branches come before the layer itself."""
    for step in steps:
        for branch in step.branches:
            yield from in_order(branch)
        yield step


def add_all_operations(network: Operations, steps: Iterable[Step], value: Value) -> Value:
    """Add what consecutive layers compute to `network`; returns the output of the last one."""
    for step in steps:
        value = step.layer.add_operations(network, step, value)
    return value


def build_layers(layers: Sequence[Layer], shape: Shape, classes: int) -> Modules:
    """Torch modules of consecutive layers for an input of (n, *shape)."""
    modules: Modules = []
    for layer in layers:
        modules += layer.build(shape, classes)
        shape = layer.output_shape(shape, classes)
    return modules


def phrase(*parts: str | None) -> str:
    """The parts that are not empty, separated by commas."""
    return ", ".join(filter(None, parts))


def by(sizes: Shape) -> str:
    """``(3, 3, 1)`` as ``3x3x1``."""
    return "x".join(map(str, sizes))
