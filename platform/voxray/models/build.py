"""Architecture spec → torch module."""

import torch
from torch import nn

from voxray.config.architecture import Convolution, Dense, Layer, Pooling
from voxray.models.blocks import ACTIVATIONS, SameConvolution, SamePooling
from voxray.models.shapes import infer_shapes


def build_model(layers: tuple[Layer, ...], input_shape: tuple[int, ...], classes: int, seed: int) -> nn.Sequential:
    """Build a network that gives logits.

    Weights start as He et al. 2015 propose (normal, fan in), the output layer's with the smaller spread of
    a linear layer; biases start at zero.

    Parameters
    ----------
    layers : tuple of Layer
    input_shape : tuple of int
        (channel, x, y[, z]).
    classes : int
    seed : int
        The same seed gives the same weights.

    Returns
    -------
    torch.nn.Sequential
        (n, *input_shape) → (n, classes).
    """
    shapes = infer_shapes(layers, input_shape, classes, "architecture")
    modules: list[nn.Module] = []
    before = input_shape
    flat = False
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        for layer, line in zip(layers, shapes, strict=True):
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
