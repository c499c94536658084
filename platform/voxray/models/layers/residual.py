"""Residual blocks."""

import math
from functools import cache
from typing import Annotated, Literal

from pydantic import Field, SerializeAsAny

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import (
    Activation,
    Layer,
    Modules,
    Shape,
    Step,
    add_all_operations,
    build_layers,
    by,
    phrase,
    walk_layers,
)
from voxray.models.layers.convolution import Convolution
from voxray.models.layers.normalization import Normalization


class Residual(Layer):
    """`R`: the sum of the input and the output of its layers, then an activation (He et al. 2016)."""

    label = "residual sum"
    type: Literal["R"]
    activation: Activation
    layers: Annotated[tuple[SerializeAsAny[Layer], ...], Field(json_schema_extra={"minItems": 1})]

    @property
    def stride(self) -> Shape:
        """By how much the layers divide each axis together; empty where none of them has a stride."""
        strides = [stride for layer in self.layers if (stride := getattr(layer, "stride", ()))]
        return tuple(map(math.prod, zip(*strides, strict=True)))

    def shortcut(self, channels: int, filters: int) -> tuple[Layer, ...]:
        """Layers that adapt an input of so many channels to the output of the block; none where it fits as it is.

        They are a convolution of size 1 and the last normalization of the block, if it has one.
        """
        stride = self.stride
        if filters == channels and max(stride, default=1) == 1:
            return ()
        normalizations = [layer for layer in self.layers if isinstance(layer, Normalization)]
        # A normalization removes a bias.
        return _projection(filters, stride, not normalizations), *map(_without_activation, normalizations[-1:])

    def output_shape(self, shape: Shape, classes: int) -> Shape:
        for layer in self.layers:
            shape = layer.output_shape(shape, classes)
        return shape

    def walk(self, key_path: str, shape: Shape, classes: int) -> Step:
        body = tuple(walk_layers(self.layers, shape, classes, f"{key_path}.layers"))
        leaving = body[-1].leaving
        shortcut = self.shortcut(shape[0], leaving[0])
        return Step(
            key_path, self, shape, leaving, (body, tuple(walk_layers(shortcut, shape, classes, f"{key_path}.shortcut")))
        )

    def problems(self, step: Step) -> list[str]:
        _, shortcut = step.branches
        given = shortcut[-1].leaving if shortcut else step.entering
        if given == step.leaving or 0 in step.leaving:
            return []
        problem = f"they give {by(step.leaving)}, its shortcut {by(given)}, which cannot be added"
        return [f"{step.key_path}.layers: {problem}; use the padding 'same' or 'centered' in them"]

    def describe(self) -> str:
        return phrase("+ shortcut", self.activation)

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        body, shortcut = (add_all_operations(network, branch, value) for branch in step.branches)
        return network.activate(network.add(body, shortcut), self.activation)

    def build(self, shape: Shape, classes: int) -> Modules:
        from torch import nn

        from voxray.models.blocks import ACTIVATIONS, ResidualBlock

        shortcut = self.shortcut(shape[0], self.output_shape(shape, classes)[0])
        inner, adapting = (nn.Sequential(*build_layers(each, shape, classes)) for each in (self.layers, shortcut))
        return [ResidualBlock(inner, adapting, ACTIVATIONS[self.activation]())]


@cache
def _projection(filters: int, stride: Shape, bias: bool) -> Convolution:
    """A convolution of size 1."""
    ones = (1,) * len(stride)
    return Convolution(type="C", activation=None, num_output=filters, kernel_size=ones, stride=stride, bias=bias)


def _without_activation(layer: Normalization) -> Normalization:
    return layer if layer.activation is None else layer.model_copy(update={"activation": None})
