"""Convolutions."""

import math
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import Field, StrictBool

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Activation, Shape, Step, phrase
from voxray.models.layers.window import WindowLayer

if TYPE_CHECKING:
    from torch import nn


class Convolution(WindowLayer):
    """`C`: a convolution and its activation."""

    label = "convolution"
    type: Literal["C"]
    activation: Activation
    num_output: Annotated[int, Field(ge=1, description="filters")]
    bias: StrictBool = True

    def output_shape(self, shape: Shape, classes: int) -> Shape:  # noqa: ARG002
        """See `Layer`."""
        return self.num_output, *self.sizes(shape)

    def count_parameters(self, step: Step) -> int:
        """See `Layer`."""
        return (math.prod(self.kernel_size) * step.entering[0] + self.bias) * self.num_output

    def describe(self) -> str:
        """See `Layer`."""
        return phrase(self.window(), "" if self.bias else "no bias", self.activation, self.dropout_text())

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        """See `Layer`."""
        # Padding that is the same on both sides is done by the convolution itself.
        if any(before != after for before, after in self.pairs(step.entering)):
            value = self.pad(network, step, value)
        value = network.convolve(
            value,
            math.prod(step.leaving),
            math.prod(step.leaving[1:]),
            math.prod(self.kernel_size) * step.entering[0] * self.num_output,
            self.num_output * self.bias,
            thin=max(self.kernel_size) == 1 == max(self.stride),
        )
        return self.drop(network, network.activate(value, self.activation))

    def build(self, shape: Shape, classes: int) -> "list[nn.Module]":  # noqa: ARG002
        """See `Layer`."""
        from voxray.models.blocks import ACTIVATIONS, PaddedConvolution

        window = self.kernel_size, self.stride, self.pairs(shape)
        convolution = PaddedConvolution(shape[0], self.num_output, *window, bias=self.bias)
        return [convolution, ACTIVATIONS[self.activation](), *self.dropout_modules()]
