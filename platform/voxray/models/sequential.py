"""A sequential network as a torch module."""

import math
from collections.abc import Sequence

from torch import nn

from voxray.models.blocks import (
    ACTIVATIONS,
    BinaryToTwoLogits,
    GlobalMean,
    PaddedConvolution,
    PaddedPooling,
    Pairs,
    ResidualBlock,
    build_normalization,
)
from voxray.models.padding import pad_axes
from voxray.models.sequential_shapes import Shape, shape_after
from voxray.models.spec.layers import (
    Convolution,
    Dense,
    Dropout,
    GlobalAverage,
    Layer,
    Normalization,
    Output,
    Pooling,
    Residual,
)


class SequentialModel(nn.Sequential):
    """Layers one after the other: (n, *shape) → logits (n, classes)."""

    def __init__(self, layers: Sequence[Layer], shape: Shape, classes: int) -> None:
        super().__init__(*build_layers(layers, shape, classes))
        _initialize(self)


def build_layers(layers: Sequence[Layer], shape: Shape, classes: int) -> list[nn.Module]:
    """Modules of layers that `shape` enters, (channel, x, y[, z]) or (units,)."""
    modules: list[nn.Module] = []
    for layer in layers:
        if isinstance(layer, Dense | Output) and len(shape) > 1:
            modules.append(nn.Flatten())
            shape = (math.prod(shape),)
        modules += _modules(layer, shape, classes)
        shape = shape_after(layer, shape, classes)
    return modules


def _modules(layer: Layer, shape: Shape, classes: int) -> list[nn.Module]:
    modules: list[nn.Module]
    match layer:
        case Convolution():
            sizes = layer.kernel_size, layer.stride, _pairs(layer, shape)
            modules = [PaddedConvolution(shape[0], layer.num_output, *sizes, bias=layer.bias)]
        case Pooling():
            modules = [PaddedPooling(layer.pool, shape[1:], layer.kernel_size, layer.stride, _pairs(layer, shape))]
        case Normalization():
            kind, spatial_dims = layer.normalization, len(shape) - 1
            modules = [build_normalization(kind, spatial_dims, shape[0], layer.epsilon, layer.momentum)]
        case Residual():
            body, shortcut = (
                nn.Sequential(*build_layers(inner, shape, classes))
                for inner in (layer.layers, layer.shortcut(shape[0]))
            )
            return [ResidualBlock(body, shortcut, ACTIVATIONS[layer.activation]())]
        case GlobalAverage():
            modules = [GlobalMean()]
        case Dense():
            modules = [nn.Linear(shape[0], layer.num_output)]
        case Output():
            pair = [BinaryToTwoLogits()] if layer.activation == "sigmoid" else []
            return [nn.Linear(shape[0], layer.units(classes)), *pair]
        case Dropout():
            modules = []
    if isinstance(layer, Convolution | Normalization | Dense):
        modules.append(ACTIVATIONS[layer.activation]())
    drop = getattr(layer, "drop_out", 0)
    return [*modules, nn.Dropout(drop / 100)] if drop else modules


def _pairs(layer: Convolution | Pooling, shape: Shape) -> Pairs:
    return pad_axes(layer.padding, shape[1:], layer.kernel_size, layer.stride)


def _initialize(model: nn.Module) -> None:
    weighted = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear)]
    for module in weighted:
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if module is weighted[-1] else "relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
