"""Shapes and parameter counts of a U-Net from integers alone."""

import math
from collections.abc import Iterator

from voxray.models.padding import divide
from voxray.models.spec.unet import UNet
from voxray.models.table import LayerShape


def follow_unet(unet: UNet, input_shape: tuple[int, ...], classes: int) -> list[LayerShape]:
    """A line for each convolution, step down, step up with its skip, and output, in the order in which they run.

    Parameters
    ----------
    unet : UNet
    input_shape : tuple of int
        (channel, x, y[, z]).
    classes : int
        Background included.
    """
    table: list[LayerShape] = []
    levels: list[tuple[int, ...]] = []
    shape = input_shape
    for level, filters in enumerate(unet.down):
        stride = unet.strides[level - 1] if level else (1,) * unet.spatial_dims
        if level and unet.pooling == "max":
            shape = (shape[0], *divide(shape[1:], stride))
            table.append(LayerShape(f"down[{level}]", "P", f"max {_by(stride)} / {_by(stride)}", shape, 0))
            stride = (1,) * unet.spatial_dims
        table += _follow_level(unet, f"down[{level}]", shape, filters, unet.kernels[level], stride)
        shape = table[-1].output
        levels.append(shape)
    for step, filters in enumerate(unet.up):
        level = len(unet.down) - 2 - step
        table.append(_step_up(unet, step, shape[0], levels[level]))
        ones = (1,) * unet.spatial_dims
        table += _follow_level(unet, f"up[{step}]", table[-1].output, filters, unet.kernels[level], ones)
        shape = table[-1].output
        last = step == len(unet.up) - 1
        if last or unet.deep_supervision:
            table.append(_output(unet, shape, unet.channels(classes), "" if last else ", while training"))
    return table


def unet_problems(unet: UNet, input_shape: tuple[int, ...]) -> list[str]:
    """Where a map gets too small, with the sizes that would do."""
    problems = []
    sizes = input_shape[1:]
    fine = least_sizes(unet)
    shrunk: set[int] = set()
    for level, stride in enumerate(unet.strides, 1):
        for axis, (size, step) in enumerate(zip(sizes, stride, strict=True)):
            if step > size and axis not in shrunk:
                shrunk.add(axis)
                problems.append(
                    f"down[{level}]: the map shrinks to nothing: stride {step} along {'xyz'[axis]}, where {size} is "
                    f"left; {'xyz'[axis]} wants {fine[axis]} or more"
                )
        sizes = divide(sizes, stride)
    if not problems and math.prod(sizes) == 1 and unet.normalization != "none":
        problems.append(
            f"down[{len(unet.down) - 1}]: {unet.normalization} normalization of a map of one voxel leaves nothing of "
            "it; give a larger patch or fewer levels"
        )
    return problems


def least_sizes(unet: UNet) -> tuple[int, ...]:
    """The smallest input along each axis in which no stride is larger than what is left."""
    least = (1,) * unet.spatial_dims
    for stride in reversed(unet.strides):
        least = tuple(max(step, (size - 1) * step + 1) for size, step in zip(least, stride, strict=True))
    return least


def _follow_level(
    unet: UNet,
    place: str,
    shape: tuple[int, ...],
    filters: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
) -> Iterator[LayerShape]:
    entering, norm = shape[0], "" if unet.normalization == "none" else f", {unet.normalization} norm"
    # A bias would be taken off again by the normalization, which has a shift and a scale of its own.
    each = 2 if norm else 1
    maps = divide(shape[1:], stride)
    adapted = unet.residual and (entering != filters[-1] or max(stride) > 1)
    for number, wanted in enumerate(filters):
        step = stride if number == 0 else (1,) * len(stride)
        end = number == len(filters) - 1
        drop = f", drop {unet.drop_out:g} %" if end and unet.drop_out else ""
        plus = ", + shortcut" if end and unet.residual else ""
        detail = f"{_by(kernel)} / {_by(step)}{norm}{plus}, {unet.activation}{drop}"
        weights = math.prod(kernel) * shape[0] * wanted + each * wanted
        shape = (wanted, *maps)
        yield LayerShape(place, "C", detail, shape, weights)
    if adapted:
        ones = (1,) * len(stride)
        detail = f"shortcut {_by(ones)} / {_by(stride)}{norm}"
        yield LayerShape(place, "C", detail, shape, entering * shape[0] + each * shape[0])


def _step_up(unet: UNet, step: int, channels: int, skip: tuple[int, ...]) -> LayerShape:
    """Upsampling to the size of a skip, and the skip beside it."""
    level = len(unet.down) - 2 - step
    stride = unet.strides[level]
    weights = 0
    if unet.upsampling == "transposed":
        weights = math.prod(stride) * channels * skip[0] + skip[0]
        channels = skip[0]
    detail = f"{unet.upsampling} {_by(stride)}, with down[{level}]"
    return LayerShape(f"up[{step}]", "U", detail, (channels + skip[0], *skip[1:]), weights)


def _output(unet: UNet, shape: tuple[int, ...], channels: int, when: str) -> LayerShape:
    detail = f"{_by((1,) * unet.spatial_dims)}, logits of a {unet.output.activation}{when}"
    return LayerShape("output", "T", detail, (channels, *shape[1:]), shape[0] * channels + channels)


def _by(sizes: tuple[int, ...]) -> str:
    return "x".join(map(str, sizes))
