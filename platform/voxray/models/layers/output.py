"""The output layer."""

import math
from typing import Literal

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Layer, Modules, Shape, Step, phrase
from voxray.models.layers.dense import add_linear, build_linear


class Output(Layer):
    """`T`: a logit for each class, or with `sigmoid` one for the second of two.

    The loss takes logits, so `softmax` and null train alike.
    """

    label = "output"
    needs_maps = False
    ends_maps = True
    type: Literal["T"]
    activation: Literal["softmax", "sigmoid"] | None

    def units(self, classes: int) -> int:
        """Logits that are computed for so many classes."""
        return 1 if self.activation == "sigmoid" else classes

    def output_shape(self, shape: Shape, classes: int) -> Shape:
        return (classes,)

    def problems(self, step: Step) -> list[str]:
        (classes,) = step.leaving
        if self.activation != "sigmoid" or classes == 2:
            return []
        return [f"{step.key_path}.activation: 'sigmoid' tells two classes apart, there are {classes}; use 'softmax'"]

    def count_parameters(self, step: Step) -> int:
        return (math.prod(step.entering) + 1) * self.units(step.leaving[0])

    def describe(self) -> str:
        return phrase("one logit" if self.activation == "sigmoid" else "logits", self.activation)

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        (classes,) = step.leaving
        units = self.units(classes)
        value = add_linear(network, step.entering, value, units)
        return value if units == classes else network.copy(value, classes)

    def build(self, shape: Shape, classes: int) -> Modules:
        from voxray.models.blocks import BinaryToTwoLogits

        modules = build_linear(shape, self.units(classes))
        return [*modules, BinaryToTwoLogits()] if self.activation == "sigmoid" else modules
