"""Architecture spec → torch module."""

from collections.abc import Sequence

import torch
from torch import nn

from voxray.console.units import bytes_text
from voxray.errors import ConfigError
from voxray.models.cost.operations import FLOAT
from voxray.models.layers.base import Layer, Shape, build_layers
from voxray.models.shapes import count_parameters, infer_shapes
from voxray.models.spec.load import Architecture
from voxray.models.spec.unet import UNet
from voxray.models.unet_model import UNetModel
from voxray.storage.machine import machine_memory


class SequentialModel(nn.Sequential):
    """Layers one after the other: (n, *shape) → logits (n, classes)."""

    def __init__(self, layers: Sequence[Layer], shape: Shape, classes: int) -> None:
        super().__init__(*build_layers(layers, shape, classes))
        weighted = [module for module in self.modules() if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear)]
        for module in weighted:
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if module is weighted[-1] else "relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def build_model(architecture: Architecture, input_shape: Shape, classes: int, seed: int) -> nn.Module:
    """Build a network that returns logits.

    Weights are initialized as in He et al. 2015 (normal, fan in), those of the output layer with the smaller standard
    deviation of a linear layer; biases are zero.

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
        For a sequential network: (n, *input_shape) → (n, classes). For a U-Net: (n, channel, x, y[, z]) of any size →
        (n, ``architecture.channels(classes)``, x, y[, z]); with deep supervision and in training mode a list of
        such tensors, from fine to coarse.

    Raises
    ------
    ConfigError
        The network doesn't fit the input, see `models.shapes.infer_shapes`, or its weights the machine's memory.
    """
    _check_weights(count_parameters(infer_shapes(architecture, input_shape, classes, "architecture")))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(architecture, UNet):
            return UNetModel(architecture, input_shape[0], classes)
        return SequentialModel(architecture.layers, input_shape, classes)


def _check_weights(parameters: int) -> None:
    needed, available = FLOAT * parameters, machine_memory()
    if needed > available:
        problem = f"its weights take {bytes_text(needed)}, the machine has {bytes_text(available)} of memory"
        raise ConfigError("architecture", problem, "Choose a smaller network")
