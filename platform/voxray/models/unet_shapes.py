"""Shapes and parameter counts of a U-Net from integers alone."""

import math
from collections.abc import Iterator

from voxray.models.layers.base import Shape, by, phrase
from voxray.models.padding import divide
from voxray.models.spec.unet import DownLevel, UNet, UpLevel
from voxray.models.table import LayerShape


def follow_unet(unet: UNet, input_shape: Shape, classes: int) -> list[LayerShape]:
    """A line for each convolution, pooling, upsampling with concatenation, and output, in the order in which they run.

    Parameters
    ----------
    unet : UNet
    input_shape : tuple of int
        (channel, x, y[, z]).
    classes : int
        Background included.
    """
    table: list[LayerShape] = []
    skips: list[Shape] = []
    shape = input_shape
    for level in unet.down_levels(shape[0]):
        if level.pool:
            shape = (shape[0], *divide(shape[1:], level.pool))
            table.append(LayerShape(level.key_path, "P", f"max {by(level.pool)} / {by(level.pool)}", shape, 0))
        table += _follow_level(unet, level, shape, level.stride)
        shape = table[-1].output
        skips.append(shape)
    for up in unet.up_levels():
        table.append(_step_up(unet, up, skips[up.skip]))
        table += _follow_level(unet, up, table[-1].output, unet.ones)
        shape = table[-1].output
        if up.has_output:
            table.append(_output(unet, shape, unet.channels(classes), "" if up.skip == 0 else ", while training"))
    return table


def unet_problems(unet: UNet, input_shape: Shape) -> list[str]:
    """Where a map becomes too small, with the sizes that are sufficient."""
    problems = []
    sizes, minimum = input_shape[1:], least_sizes(unet)
    shrunk: set[str] = set()
    for level, stride in enumerate(unet.strides, 1):
        for axis, size, step, least in zip("xyz", sizes, stride, minimum, strict=False):
            if step > size and axis not in shrunk:
                shrunk.add(axis)
                problems.append(
                    f"down[{level}]: the map shrinks to nothing: stride {step} along {axis}, where {size} is left; "
                    f"{axis} must be {least} or more"
                )
        sizes = divide(sizes, stride)
    if not problems and math.prod(sizes) == 1 and unet.normalization != "none":
        problem = f"{unet.normalization} normalization of a map of one voxel leaves nothing of it"
        problems.append(f"down[{len(unet.down) - 1}]: {problem}; give a larger patch or fewer levels")
    return problems


def least_sizes(unet: UNet) -> Shape:
    """The smallest input along each axis with which no stride is larger than the remaining size."""
    least = unet.ones
    for stride in reversed(unet.strides):
        least = tuple(max(step, (size - 1) * step + 1) for size, step in zip(least, stride, strict=True))
    return least


def _follow_level(unet: UNet, level: DownLevel | UpLevel, shape: Shape, stride: Shape) -> Iterator[LayerShape]:
    key_path, entering, (*_, last) = level.key_path, shape[0], level.filters
    norm = "" if unet.normalization == "none" else f", {unet.normalization} norm"
    # A normalization removes a bias, and has a shift and a scale of its own.
    extra = 2 if norm else 1
    sizes = divide(shape[1:], stride)
    end = f"{', + shortcut' if unet.residual else ''}, {phrase(unet.activation, unet.dropout_text())}"
    for number, filters in enumerate(level.filters, 1):
        step = stride if number == 1 else unet.ones
        tail = end if number == len(level.filters) else f", {unet.activation}"
        weights = (math.prod(level.kernel) * shape[0] + extra) * filters
        shape = (filters, *sizes)
        yield LayerShape(key_path, "C", f"{by(level.kernel)} / {by(step)}{norm}{tail}", shape, weights)
    if unet.has_projection(entering, last, stride):
        detail = f"shortcut {by(unet.ones)} / {by(stride)}{norm}"
        yield LayerShape(key_path, "C", detail, shape, (entering + extra) * last)


def _step_up(unet: UNet, level: UpLevel, skip: Shape) -> LayerShape:
    """Upsampling to the size of a skip connection, and concatenation with it."""
    weights = 0
    if unet.upsampling == "transposed":
        weights = (math.prod(level.scale) * level.channels + 1) * level.upsampled
    detail = f"{unet.upsampling} {by(level.scale)}, with down[{level.skip}]"
    return LayerShape(level.key_path, "U", detail, (level.joined, *skip[1:]), weights)


def _output(unet: UNet, shape: Shape, channels: int, when: str) -> LayerShape:
    detail = f"{by(unet.ones)}, logits of a {unet.output.activation}{when}"
    return LayerShape("output", "T", detail, (channels, *shape[1:]), (shape[0] + 1) * channels)
