"""The global average."""

from typing import Literal

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Layer, Modules, Shape, Step


class GlobalAverage(Layer):
    """`G`: the mean of each map; dense layers follow."""

    label = "global average"
    ends_maps = True
    type: Literal["G"]

    def output_shape(self, shape: Shape, classes: int) -> Shape:
        return shape[:1]

    def describe(self) -> str:
        return "mean of each map"

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        return network.copy(value, step.entering[0])

    def build(self, shape: Shape, classes: int) -> Modules:
        from voxray.models.blocks import GlobalMean

        return [GlobalMean()]
