"""What convolutions and poolings have in common: a window that moves over padded maps."""

import math
from operator import le
from typing import Annotated

from pydantic import Field

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Shape, Sizes, Step, by, phrase
from voxray.models.layers.dropout import DropoutLayer
from voxray.models.padding import Padding, Pairs, pad_axes, sizes_after

Padded = Annotated[
    Padding,
    Field(
        description="same: odd padding goes to the far side; centered: (k - 1) / 2 on both sides; valid: none. "
        "The first two give ceil(size / stride)"
    ),
]


class WindowLayer(DropoutLayer):
    """A layer with a kernel, a stride and padding, in x, y(, z) order."""

    kernel_size: Sizes
    stride: Sizes
    padding: Padded = "same"

    def sizes(self, shape: Shape) -> Shape:
        """(x, y[, z]) of the output; 0 along an axis that shrinks to nothing."""
        return sizes_after(self.padding, shape[1:], self.kernel_size, self.stride)

    def pairs(self, shape: Shape) -> Pairs:
        """Padding before and after each axis of an input of `shape`."""
        return pad_axes(self.padding, shape[1:], self.kernel_size, self.stride)

    def pad(self, network: Operations, step: Step, value: Value) -> Value:
        """Add the copy with a border to `network`."""
        padded = [size + sum(pair) for size, pair in zip(step.entering[1:], self.pairs(step.entering), strict=True)]
        return network.copy(value, step.entering[0] * math.prod(padded))

    def window(self) -> str:
        """Kernel, stride and padding in words."""
        padding = self.padding if self.padding != "same" else None
        return phrase(f"{by(self.kernel_size)} / {by(self.stride)}", padding)

    def problems(self, step: Step) -> list[str]:
        """The axes that shrink to nothing."""
        if 0 not in step.leaving and all(map(le, self.stride, step.entering[1:])):
            return []
        problems = []
        axes = zip("xyz", step.entering[1:], self.kernel_size, self.stride, step.leaving[1:], strict=False)
        for axis, size, kernel, stride, left in axes:
            where = f"along {axis}, where {size} is left"
            if 0 < size < stride:
                problems.append(f"{step.key_path}.stride: the map shrinks to nothing: stride {stride} {where}")
            elif size and not left:
                kernel_text = f"'valid' kernel {kernel}"
                problems.append(f"{step.key_path}.kernel_size: the map shrinks to nothing: {kernel_text} {where}")
        return problems
