"""Dense layers."""

import math
from typing import Annotated, Literal

from pydantic import Field

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Activation, Count, Modules, Shape, Step, phrase
from voxray.models.layers.dropout import DropoutLayer


class Dense(DropoutLayer):
    """`FC`: a dense layer; the first one flattens its input."""

    label = "dense"
    needs_maps = False
    ends_maps = True
    type: Literal["FC"]
    activation: Activation
    num_output: Annotated[Count, Field(description="units")]

    def output_shape(self, shape: Shape, classes: int) -> Shape:
        return (self.num_output,)

    def count_parameters(self, step: Step) -> int:
        return (math.prod(step.entering) + 1) * self.num_output

    def describe(self) -> str:
        return phrase(self.activation, self.dropout_text())

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        value = add_linear(network, step.entering, value, self.num_output)
        return self.drop(network, network.activate(value, self.activation))

    def build(self, shape: Shape, classes: int) -> Modules:
        from voxray.models.blocks import ACTIVATIONS

        return [*build_linear(shape, self.num_output), ACTIVATIONS[self.activation](), *self.dropout_modules()]


def add_linear(network: Operations, entering: Shape, value: Value, units: int) -> Value:
    """Add a dense layer without its activation to `network`; it flattens maps."""
    value = network.flatten(value) if len(entering) > 1 else value
    return network.convolve(value, units, 1, math.prod(entering) * units, units)


def build_linear(shape: Shape, units: int) -> Modules:
    """The torch modules of a dense layer without its activation; maps are flattened."""
    from torch import nn

    return [*([nn.Flatten()] if len(shape) > 1 else []), nn.Linear(math.prod(shape), units)]
