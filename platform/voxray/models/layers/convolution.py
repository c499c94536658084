"""Convolutions."""

import math
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Activation, Count, Modules, Shape, Step, phrase
from voxray.models.layers.window import WindowLayer
from voxray.models.padding import takes_samples_first


class Convolution(WindowLayer):
    """`C`: a convolution and its activation."""

    label = "convolution"
    type: Literal["C"]
    activation: Activation
    num_output: Annotated[Count, Field(description="filters")]
    bias: StrictBool = True

    def output_shape(self, shape: Shape, classes: int) -> Shape:
        return self.num_output, *self.sizes(shape)

    def count_parameters(self, step: Step) -> int:
        return (math.prod(self.kernel_size) * step.entering[0] + self.bias) * self.num_output

    def describe(self) -> str:
        return phrase(self.window(), "" if self.bias else "no bias", self.activation, self.dropout_text())

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        # Padding that is the same on both sides is done by the convolution itself.
        if any(before != after for before, after in self.pairs(step.entering)):
            value = self.pad(network, step, value)
        if takes_samples_first(step.entering[0], self.kernel_size, self.stride):
            value = network.copy(value, step.entering[0] * math.prod(step.leaving[1:]))
        value = network.convolve(
            value,
            math.prod(step.leaving),
            math.prod(step.leaving[1:]),
            math.prod(self.kernel_size) * step.entering[0] * self.num_output,
            self.num_output * self.bias,
            thin=max(self.kernel_size) == 1 == max(self.stride),
        )
        return self.drop(network, network.activate(value, self.activation))

    def build(self, shape: Shape, classes: int) -> Modules:
        from voxray.models.blocks import ACTIVATIONS, PaddedConvolution

        window = self.kernel_size, self.stride, self.pairs(shape)
        convolution = PaddedConvolution(shape[0], self.num_output, *window, bias=self.bias)
        return [convolution, ACTIVATIONS[self.activation](), *self.dropout_modules()]
