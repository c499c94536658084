"""Networks drawn from the shipped search spaces, and small ones of every kind of layer."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.spec.load import Architecture, parse_architecture
from voxray.models.spec.unet import UNet
from voxray.search.constraints import TRAINING, Conditions, draw
from voxray.search.space.load import load_space
from voxray.search.space.sampling import at_random

SPACES = Path(__file__).resolve().parents[2] / "configs" / "spaces"
KINDS = ("layers2d", "layers3d", "cnn2d", "cnn3d", "resnet", "unet2d", "unet3d")
ACTIVATIONS = ("relu", "leaky_relu", "elu", "tanh", "sigmoid")
# Measured in seconds and on any machine.
PEAK_BYTES, MOST_FLOPS = (4 * 2**20, 1200 * 2**20), 6e10


@dataclass(frozen=True)
class DrawnNetwork:
    """A network with its input, classes, settings and cost on a CPU."""

    kind: str
    architecture: Architecture
    shape: tuple[int, ...]
    classes: int
    training: TrainingSpec
    cost: Cost


def draw_networks(count: int, seed: int) -> Iterator[DrawnNetwork]:
    """Networks of all kinds in turn, without those that don't fit their input or take too long."""
    rng = np.random.default_rng(seed)
    drawn = tried = 0
    while drawn < count:
        kind, tried = KINDS[tried % len(KINDS)], tried + 1
        dims = 2 if "2d" in kind else 3 if "3d" in kind else int(rng.choice([2, 3]))
        shape = _shape(rng, dims)
        content, training = _layers(rng, dims) if kind.startswith("layers") else _of_space(rng, kind, shape)
        try:
            architecture = parse_architecture(content, kind)
            classes = 3 if isinstance(architecture, UNet) else 2
            cost = estimate_cost(architecture, shape, classes, training, kind)
        except ConfigError:
            continue
        low, high = PEAK_BYTES
        if low < cost.peak_bytes < high and cost.training_flops * training.batch_size < MOST_FLOPS:
            drawn += 1
            yield DrawnNetwork(kind, architecture, shape, classes, training, cost)


def _shape(rng: np.random.Generator, dims: int) -> tuple[int, ...]:
    sides = (24, 32, 64, 96, 160) if dims == 2 else (16, 24, 32, 48)
    side = int(rng.choice(sides))
    depth = (int(rng.choice([8, 16, side])),) if dims == 3 else ()
    return (int(rng.choice([1, 2, 4])), side, side, *depth)


def _of_space(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> tuple[Any, TrainingSpec]:
    space = load_space(SPACES / f"{kind.removesuffix('2d').removesuffix('3d') if 'unet' in kind else kind}.json")
    patch = (*shape, 1) if len(shape) == 3 else shape
    classes = 3 if "unet" in kind else 2
    sample = draw(space, Conditions(patch, classes, TrainingSpec()), at_random(rng))  # type: ignore[arg-type]
    settings = {key.removeprefix(TRAINING): value for key, value in sample.settings.items() if TRAINING in key}
    training = TrainingSpec(precision="float32").model_copy(update=settings)
    batch_size = min(training.batch_size, int(rng.choice([4, 16, 32])))
    return sample.architecture, training.model_copy(update={"batch_size": batch_size})


def _layers(rng: np.random.Generator, dims: int) -> tuple[Any, TrainingSpec]:
    """A few layers with one kind of activation, normalization and pooling."""
    activation = str(rng.choice(ACTIVATIONS))
    normalization, pool = rng.choice(["batch", "instance", ""]), rng.choice(["max", "avg", ""])
    filters, layers = int(rng.choice([4, 8, 12, 16, 24])), []
    for _ in range(int(rng.integers(1, 4))):
        convolution = {
            "type": "C",
            "activation": None if normalization else activation,
            "num_output": filters,
            "kernel_size": [int(rng.choice([1, 2, 3, 5]))] * dims,
            "stride": [1 if pool else 2] * dims,
            "padding": str(rng.choice(["same", "centered"])),
        }
        layers.append(convolution)
        if normalization:
            layers.append({"type": "N", "normalization": str(normalization), "activation": activation})
        if pool:
            layers.append({"type": "P", "pool": str(pool), "kernel_size": [2] * dims, "stride": [2] * dims})
        if rng.random() < 0.5:
            same = convolution | {"kernel_size": [3] * dims, "stride": [1] * dims}
            layers.append({"type": "R", "activation": activation, "layers": [same]})
        if rng.random() < 0.3:
            layers.append({"type": "D", "drop_out": 20})
        filters *= int(rng.choice([1, 2]))
    layers.append({"type": "FC", "activation": activation, "num_output": 64})
    layers.append({"type": "T", "activation": str(rng.choice(["softmax", "sigmoid"]))})
    settings: dict[str, Any] = {
        "batch_size": int(rng.choice([2, 8, 32, 64])),
        "optimizer": str(rng.choice(["adam", "adamw", "sgd"])),
    }
    return layers, TrainingSpec(precision="float32", **settings)
