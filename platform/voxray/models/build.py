"""Architecture spec → torch module."""

import torch
from torch import nn

from voxray.models.sequential import SequentialModel
from voxray.models.shapes import infer_shapes
from voxray.models.spec.load import Architecture
from voxray.models.spec.unet import UNet
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
    infer_shapes(architecture, input_shape, classes, "architecture")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if isinstance(architecture, UNet):
            return UNetModel(architecture, input_shape[0], classes)
        return SequentialModel(architecture.layers, input_shape, classes)
