"""Pooling."""

import math
from typing import Literal

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Modules, Shape, Step, phrase
from voxray.models.layers.window import WindowLayer


class Pooling(WindowLayer):
    """`P`: the largest or the mean value of each window; padding never counts."""

    label = "pooling"
    type: Literal["P"]
    pool: Literal["max", "avg"]

    def output_shape(self, shape: Shape, classes: int) -> Shape:
        return shape[0], *self.sizes(shape)

    def describe(self) -> str:
        return phrase(f"{self.pool} {self.window()}", self.dropout_text())

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        padded = any(map(any, self.pairs(step.entering)))
        value = self.pad(network, step, value) if padded else value
        value = network.pool(self.pool, value, math.prod(step.leaving), len(step.entering) - 1)
        if padded and self.pool == "avg":
            # A mean is divided by the fraction of each window that isn't padding.
            value = network.copy(value, value.numbers)
        return self.drop(network, value)

    def build(self, shape: Shape, classes: int) -> Modules:
        from voxray.models.blocks import PaddedPooling

        pooling = PaddedPooling(self.pool, shape[1:], self.kernel_size, self.stride, self.pairs(shape))
        return [pooling, *self.dropout_modules()]
