"""Architecture spec → torch module."""

import torch
from torch import nn

from voxray.config.architecture import Architecture
from voxray.config.sequential import Convolution, Dense, Layer, Pooling, Sequential
from voxray.config.unet import UNet
from voxray.models.blocks import ACTIVATIONS, SameConvolution, SamePooling
from voxray.models.shapes import infer_shapes
from voxray.models.table import LayerShape
from voxray.models.unet import UNetModel


def build_model(architecture: Architecture, input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Module:
    """Build a network that gives logits.

    Weights start as He et al. 2015 propose (normal, fan in), the output layer's with the smaller spread of
    a linear layer; biases start at zero.

    Parameters
    ----------
    architecture : Sequential or UNet
    input_shape : tuple of int
        (channel, x, y[, z]).
    classes : int
        Background included, where there is one.
    seed : int
        The same seed gives the same weights.

    Returns
    -------
    torch.nn.Module
        Of a sequential network: (n, *input_shape) → (n, classes). Of a U-Net: (n, channel, x, y[, z]) of any size →
        (n, ``architecture.channels(classes)``, x, y[, z]); with deep supervision and in training mode a list of
        such tensors, from fine to coarse.
    """
    shapes = infer_shapes(architecture, input_shape, classes, "architecture")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(architecture, UNet):
            return UNetModel(architecture, input_shape[0], classes)
        return _sequential(architecture, shapes, input_shape)


def _sequential(
    architecture: Sequential, shapes: tuple[LayerShape, ...], input_shape: tuple[int, ...]
) -> nn.Sequential:
    modules: list[nn.Module] = []
    before = input_shape
    flat = False
    for layer, line in zip(architecture.layers, shapes, strict=True):
        if not isinstance(layer, Convolution | Pooling) and not flat:
            modules.append(nn.Flatten())
            before, flat = (int(torch.Size(before).numel()),), True
        modules += _modules(layer, before, line.output)
        before = line.output
    model = nn.Sequential(*modules)
    _initialise(model)
    return model


def _modules(layer: Layer, before: tuple[int, ...], after: tuple[int, ...]) -> list[nn.Module]:
    if isinstance(layer, Pooling):
        modules: list[nn.Module] = [SamePooling(layer.pool, before[1:], layer.kernel_size, layer.stride)]
    elif isinstance(layer, Convolution):
        convolution = SameConvolution(before[0], after[0], before[1:], layer.kernel_size, layer.stride)
        modules = [convolution, ACTIVATIONS[layer.activation]()]
    elif isinstance(layer, Dense):
        modules = [nn.Linear(before[0], after[0]), ACTIVATIONS[layer.activation]()]
    else:
        return [nn.Linear(before[0], after[0])]
    return [*modules, nn.Dropout(layer.drop_out / 100)] if layer.drop_out else modules


def _initialise(model: nn.Sequential) -> None:
    weighted = [module for module in model.modules() if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear)]
    for module in weighted:
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if module is weighted[-1] else "relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
