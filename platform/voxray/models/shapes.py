"""Shapes and parameter counts of an architecture from integers alone, before any tensor exists."""

import math

from voxray.config.architecture import Architecture, rank_of
from voxray.config.sequential import Convolution, Dense, Layer, Output, Pooling
from voxray.config.unet import UNet
from voxray.errors import ConfigError, ConfigFileError
from voxray.models.table import LayerShape
from voxray.models.unet_shapes import follow_unet, unet_problems


def parse_input(text: str) -> tuple[int, ...]:
    """``1x64x64x10`` as (channel, x, y, z)."""
    try:
        shape = tuple(int(part) for part in text.lower().split("x"))
    except ValueError:
        shape = ()
    if len(shape) not in (3, 4) or min(shape) < 1:
        raise ConfigError("--input", f"wants CHANNELSxXxY or CHANNELSxXxYxZ, got '{text}'", "For example 1x64x64x10")
    return shape


def model_input(architecture: Architecture, patch_shape: tuple[int, int, int, int]) -> tuple[int, ...]:
    """What a network of this architecture is given of a patch (channel, x, y, z): a 2D one takes (channel, x, y).

    Raises
    ------
    ConfigError
        A 2D network and a patch of several slices.
    """
    if rank_of(architecture) != 2:
        return patch_shape
    if patch_shape[3] != 1:
        problem = f"a 2D architecture takes patches of one slice, got {patch_shape[3]}"
        raise ConfigError("patches.size", problem, f"Set it to [{patch_shape[1]}, {patch_shape[2]}]")
    return patch_shape[:3]


def infer_shapes(
    architecture: Architecture, input_shape: tuple[int, ...], classes: int, where: str
) -> tuple[LayerShape, ...]:
    """Follow a shape through the layers.

    Parameters
    ----------
    architecture : Sequential or UNet
    input_shape : tuple of int
        (channel, x, y) or (channel, x, y, z).
    classes : int
        Background included, where there is one. A U-Net with a sigmoid has one output fewer.
    where : str
        File, named in errors.

    Returns
    -------
    tuple of LayerShape
        In the order in which the layers run.

    Raises
    ------
    ConfigError
        The rank of a kernel is not that of the input, or a map shrinks to nothing.
    """
    rank = rank_of(architecture)
    if rank is not None and rank != len(input_shape) - 1:
        problem = f"its kernels are {rank}D, the input {'x'.join(map(str, input_shape))} is {len(input_shape) - 1}D"
        raise ConfigError(where, problem, "Take the architecture or the patch size of the other rank")
    if isinstance(architecture, UNet):
        problems = unet_problems(architecture, input_shape)
        table = follow_unet(architecture, input_shape, classes)
    else:
        table, problems = _follow_layers(architecture.layers, input_shape, classes)
    if problems:
        raise ConfigFileError(
            where, "\n  ".join([f"does not fit the input {'x'.join(map(str, input_shape))}.", *problems])
        )
    return tuple(table)


def count_parameters(table: tuple[LayerShape, ...]) -> int:
    """All trainable parameters."""
    return sum(line.parameters for line in table)


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after one axis so that output = ceil(size / stride); the odd one goes to the far side."""
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def _follow_layers(
    layers: tuple[Layer, ...], shape: tuple[int, ...], classes: int
) -> tuple[list[LayerShape], list[str]]:
    table, problems = [], []
    for number, layer in enumerate(layers):
        if isinstance(layer, Convolution | Pooling):
            problems += _shrink_problems(layer, shape, f"[{number}]")
        line = _follow(layer, shape, classes)
        table.append(line)
        shape = line.output
    return table, problems


def _follow(layer: Layer, shape: tuple[int, ...], classes: int) -> LayerShape:
    drop = f", drop {layer.drop_out:g} %" if not isinstance(layer, Output) and layer.drop_out else ""
    if isinstance(layer, Convolution | Pooling):
        maps = tuple(math.ceil(size / stride) for size, stride in zip(shape[1:], layer.stride, strict=True))
        kernel, stride = ("x".join(map(str, sizes)) for sizes in (layer.kernel_size, layer.stride))
        if isinstance(layer, Pooling):
            return LayerShape("P", f"{layer.pool} {kernel} / {stride}{drop}", (shape[0], *maps), 0)
        weights = math.prod(layer.kernel_size) * shape[0] * layer.num_output + layer.num_output
        detail = f"{kernel} / {stride}, {layer.activation or 'linear'}{drop}"
        return LayerShape("C", detail, (layer.num_output, *maps), weights)
    units = layer.num_output if isinstance(layer, Dense) else classes
    detail = f"{layer.activation or ('linear' if isinstance(layer, Dense) else 'logits')}{drop}"
    return LayerShape(layer.type, detail, (units,), math.prod(shape) * units + units)


def _shrink_problems(layer: Convolution | Pooling, shape: tuple[int, ...], place: str) -> list[str]:
    return [
        f"{place}.stride: the map shrinks to nothing: stride {stride} along {axis}, where {size} is left"
        for axis, size, stride in zip("xyz", shape[1:], layer.stride, strict=False)
        if stride > size
    ]
