"""Shipped networks against the same layers of other libraries, with the same weights."""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import pytest
import torch
from keras import layers as kl
from monai.networks.nets import resnet18
from torch import nn

from voxray.models.build import build_model
from voxray.models.spec.load import load_architecture


def shipped(project: Path, name: str, shape: tuple[int, ...]) -> nn.Module:
    """A shipped network whose batch normalizations are no longer those of an untrained one."""
    model = build_model(load_architecture(project / "configs" / "architectures" / f"{name}.json"), shape, 2, 0)
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data = 0.5 + torch.rand(tensor.shape, generator=generator)
    return model


def weighted(model: nn.Module) -> list[nn.Module]:
    kinds = nn.Conv2d | nn.Conv3d | nn.BatchNorm2d | nn.BatchNorm3d | nn.Linear
    return [module for module in model.modules() if isinstance(module, kinds)]


def to_keras(model: nn.Module, network: keras.Model, flattened: Sequence[int]) -> None:
    """Copy weights; `flattened` is the shape (channel, x, y[, z]) of the maps that the first dense layer flattens."""
    theirs = [layer for layer in network.layers if layer.weights]
    for module, layer in zip(weighted(model), theirs, strict=True):
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            tensors = [module.weight, module.bias, module.running_mean, module.running_var]
        elif isinstance(module, nn.Linear):
            weight = module.weight
            if len(flattened) and weight.shape[1] == np.prod(flattened):
                # Keras has channels last.
                weight = weight.view(-1, *flattened).movedim(1, -1).flatten(1)
            tensors = [weight.T, module.bias]
        else:
            tensors = [module.weight.movedim((0, 1), (-1, -2)), module.bias]
        layer.set_weights([tensor.detach().numpy() for tensor in tensors])


def two_images(*shape: int) -> torch.Tensor:
    """Noise of different brightness, (2, channel, x, y[, z])."""
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(1))
    images[0] *= 0.1
    return images


def channels_last(images: torch.Tensor) -> np.ndarray:
    return images.movedim(1, -1).numpy()


def mosmed_of_keras(shape: tuple[int, int, int]) -> keras.Model:
    """The published 3D network for chest CT, with Keras' own defaults."""
    network = keras.Sequential([keras.Input((*shape, 1))])
    for filters in (64, 64, 128, 256):
        network.add(kl.Conv3D(filters, 3, activation="relu"))
        network.add(kl.MaxPool3D(2))
        network.add(kl.BatchNormalization())
    for layer in (kl.GlobalAveragePooling3D(), kl.Dense(512, "relu"), kl.Dropout(0.3), kl.Dense(1, "sigmoid")):
        network.add(layer)
    return network


def test_the_chest_network_is_that_of_keras(project: Path) -> None:
    shape = (62, 47, 46)
    model, network = shipped(project, "mosmed_cnn3d", (1, *shape)).eval(), mosmed_of_keras(shape)
    to_keras(model, network, ())
    images = two_images(1, *shape)
    with torch.no_grad():
        mine = model(images).softmax(1)[:, 1:]
        theirs = network(channels_last(images), training=False).cpu()
    assert float(mine.std()) > 0.01
    np.testing.assert_allclose(mine, theirs, atol=1e-5)


def test_keras_counts_as_many_parameters_of_the_chest_network_at_its_full_size() -> None:
    network = mosmed_of_keras((128, 128, 64))
    assert network.count_params() == 1_352_897
    assert sum(int(np.prod(each.shape)) for each in network.trainable_weights) == 1_351_873


def test_batch_statistics_move_as_fast_as_those_of_keras(project: Path) -> None:
    shape = (62, 46, 46)
    model, network = shipped(project, "mosmed_cnn3d", (1, *shape)).train(), mosmed_of_keras(shape)
    to_keras(model, network, ())
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm3d)]
    before = [module.running_var.numpy().copy() for module in norms]
    images = two_images(1, *shape)
    with torch.no_grad():
        model(images)
        network(channels_last(images), training=True)
    theirs = [
        [each.value.detach().cpu().numpy() for each in (layer.moving_mean, layer.moving_variance)]
        for layer in network.layers
        if isinstance(layer, kl.BatchNormalization)
    ]
    voxels = (2 * 30 * 22 * 22, 2 * 14 * 10 * 10, 2 * 6 * 4 * 4, 2 * 2 * 1 * 1)
    for module, old, (mean, variance), n in zip(norms, before, theirs, voxels, strict=True):
        np.testing.assert_allclose(module.running_mean, mean, atol=1e-5)
        # PyTorch follows the unbiased variance, Keras the biased one.
        moved = (module.running_var.numpy() - 0.99 * old) * (n - 1) / n
        np.testing.assert_allclose(moved, variance - 0.99 * old, atol=1e-5)


@pytest.mark.parametrize(("name", "size"), [("archsm", (23, 22)), ("arch3dsm", (17, 18, 7))])
def test_padding_pooling_and_flattening_of_the_first_networks_are_those_of_keras(
    project: Path, name: str, size: tuple[int, ...]
) -> None:
    model = shipped(project, name, (1, *size)).eval()
    flat = len(size) == 2
    convolution, pool = (kl.Conv2D, kl.MaxPool2D) if flat else (kl.Conv3D, kl.MaxPool3D)
    network = keras.Sequential([keras.Input((*size, 1))])
    for filters, kernel in ((16, (3, 3, 3)), (None, (2, 2, 2)), (32, (3, 3, 3)), (16, (5, 5, 1))):
        if filters is None:
            network.add(pool(kernel[: len(size)], strides=2, padding="same"))
        else:
            network.add(convolution(filters, kernel[: len(size)], padding="same", activation="relu"))
    network.add(pool((5, 5, 2)[: len(size)], strides=3, padding="same"))
    network.add(convolution(32, 3, padding="same", activation="relu"))
    network.add(kl.Flatten())
    for layer in (kl.Dense(20, "relu"), kl.Dense(10, "relu"), kl.Dense(2)):
        network.add(layer)
    to_keras(model, network, (32, *network.layers[-5].output.shape[1:-1]))
    images = two_images(1, *size)
    with torch.no_grad():
        theirs = network(channels_last(images), training=False).cpu()
        np.testing.assert_allclose(model(images), theirs, atol=1e-5)


@pytest.mark.parametrize("size", [(64, 61), (58, 75)])
def test_the_glioma_network_is_monais_resnet_with_the_first_convolution_changed(
    project: Path, size: tuple[int, int]
) -> None:
    model = shipped(project, "brats2020_resnet18", (4, *size)).eval()
    network = resnet18(
        spatial_dims=2, n_input_channels=4, num_classes=2, shortcut_type="B", bias_downsample=False, conv1_t_stride=1
    ).eval()
    network.conv1 = nn.Conv2d(4, 64, 7)
    for mine, theirs in zip(weighted(model), weighted(network), strict=True):
        theirs.load_state_dict(mine.state_dict())
    assert sum(each.numel() for each in network.parameters()) == 11_180_738
    images = two_images(4, *size)
    with torch.no_grad():
        theirs = network(images)
        np.testing.assert_allclose(model(images) / theirs.abs().max(), theirs / theirs.abs().max(), atol=1e-5)
