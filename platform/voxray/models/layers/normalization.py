"""Normalization."""

import math
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Activation, Layer, Modules, Shape, Step, phrase


class Normalization(Layer):
    """`N`: zero mean and unit variance for each channel, a learned scale and shift, and an activation.

    `batch` takes mean and variance of the batch while training, and their running means otherwise (Ioffe and
    Szegedy 2015); `instance` takes those of each patch.
    """

    label = "normalization"
    type: Literal["N"]
    normalization: Literal["batch", "instance"]
    activation: Activation = None
    epsilon: Annotated[float, Field(gt=0, strict=True, description="added to the variance")] = 1e-5
    momentum: Annotated[
        float,
        Field(
            gt=0, le=1, strict=True, description="weight of the newest batch in the running means; Keras' is 1 minus it"
        ),
    ] = 0.1

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.normalization == "instance" and "momentum" in self.model_fields_set:
            raise ValueError("momentum: is for 'batch'; 'instance' has no running means")
        return self

    def problems(self, step: Step) -> list[str]:
        if math.prod(step.entering[1:]) != 1:
            return []
        problem = f"{self.normalization} normalization of a map of one voxel leaves nothing of it"
        return [f"{step.key_path}: {problem}; give a larger patch or smaller strides"]

    def count_parameters(self, step: Step) -> int:
        return 2 * step.entering[0]

    def describe(self) -> str:
        return phrase(self.normalization, self.activation)

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        return network.activate(network.normalize(value, step.entering[0], self.normalization), self.activation)

    def build(self, shape: Shape, classes: int) -> Modules:
        from voxray.models.blocks import ACTIVATIONS, build_normalization

        kind, spatial_dims = self.normalization, len(shape) - 1
        normalization = build_normalization(kind, spatial_dims, shape[0], self.epsilon, self.momentum)
        return [normalization, ACTIVATIONS[self.activation]()]
