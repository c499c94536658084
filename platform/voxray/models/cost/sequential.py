"""The operations of a sequential network: what `models.sequential` builds, module by module."""

import math
from collections.abc import Iterable

from voxray.models.cost.operations import Operations, Value
from voxray.models.padding import pad_axes
from voxray.models.sequential_shapes import Shape, Step
from voxray.models.spec.layers import (
    Convolution,
    Dense,
    Dropout,
    GlobalAverage,
    Normalization,
    Output,
    Pooling,
    Residual,
)


def run_steps(network: Operations, steps: Iterable[Step], maps: Value) -> Value:
    """Note the operations of layers that a value enters; returns what leaves them."""
    for step in steps:
        maps = _run(network, step, maps)
    return maps


def _run(network: Operations, step: Step, maps: Value) -> Value:
    layer, entering, leaving = step.layer, step.entering, step.leaving
    match layer:
        case Convolution():
            maps = _convolve(network, layer, maps, entering, leaving)
        case Normalization():
            maps = network.normalize(maps, entering[0], layer.normalization)
        case Pooling():
            maps = _pool(network, layer, maps, entering, leaving)
        case Residual():
            body, shortcut = run_steps(network, step.body, maps), run_steps(network, step.shortcut, maps)
            return network.activate(network.add(body, shortcut), layer.activation)
        case GlobalAverage():
            return network.copy(maps, entering[0])
        case Dense() | Output():
            if len(entering) > 1:
                maps = network.flatten(maps)
            units = layer.num_output if isinstance(layer, Dense) else layer.units(leaving[0])
            maps = network.convolve(maps, units, 1, math.prod(entering) * units, units)
            if isinstance(layer, Output):
                return maps if units == leaving[0] else network.copy(maps, leaving[0])
        case Dropout():
            pass
    if isinstance(layer, Convolution | Normalization | Dense):
        maps = network.activate(maps, layer.activation)
    if isinstance(layer, Normalization) or not layer.drop_out:
        return maps
    return network.drop_out(maps)


def _convolve(network: Operations, layer: Convolution, maps: Value, entering: Shape, leaving: Shape) -> Value:
    pairs = pad_axes(layer.padding, entering[1:], layer.kernel_size, layer.stride)
    # What is the same on both sides is padded by the convolution itself.
    if any(before != after for before, after in pairs):
        maps = network.copy(maps, _padded(entering, pairs))
    weights = math.prod(layer.kernel_size) * entering[0] * layer.num_output
    bias = layer.num_output if layer.bias else 0
    thin = max(layer.kernel_size) == 1 == max(layer.stride)
    return network.convolve(maps, math.prod(leaving), math.prod(leaving[1:]), weights, bias, thin=thin)


def _pool(network: Operations, layer: Pooling, maps: Value, entering: Shape, leaving: Shape) -> Value:
    pairs, spatial_dims = pad_axes(layer.padding, entering[1:], layer.kernel_size, layer.stride), len(entering) - 1
    if not any(map(any, pairs)):
        return network.pool(layer.pool, maps, math.prod(leaving), spatial_dims)
    maps = network.pool(layer.pool, network.copy(maps, _padded(entering, pairs)), math.prod(leaving), spatial_dims)
    # A mean is divided by the share of each window that isn't padding.
    return network.copy(maps, maps.numbers) if layer.pool == "avg" else maps


def _padded(shape: Shape, pairs: Iterable[tuple[int, int]]) -> int:
    """Numbers of maps with a border."""
    return shape[0] * math.prod([size + before + after for size, (before, after) in zip(shape[1:], pairs, strict=True)])
