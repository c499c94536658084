"""The global average."""

from typing import TYPE_CHECKING, Literal

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Layer, Shape, Step

if TYPE_CHECKING:
    from torch import nn


class GlobalAverage(Layer):
    """`G`: the mean of each map; dense layers follow."""

    label = "global average"
    ends_maps = True
    type: Literal["G"]

    def output_shape(self, shape: Shape, classes: int) -> Shape:  # noqa: ARG002
        """See `Layer`."""
        return shape[:1]

    def describe(self) -> str:
        """See `Layer`."""
        return "mean of each map"

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        """See `Layer`."""
        return network.copy(value, step.entering[0])

    def build(self, shape: Shape, classes: int) -> "list[nn.Module]":  # noqa: ARG002
        """See `Layer`."""
        from voxray.models.blocks import GlobalMean

        return [GlobalMean()]
