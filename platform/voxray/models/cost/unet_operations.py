"""The operations of a U-Net, module by module as in `models.unet_model`."""

import math

from voxray.models.cost.operations import Operations, Value
from voxray.models.layers.base import Shape
from voxray.models.padding import divide, takes_samples_first
from voxray.models.spec.unet import UNet, UpLevel

Maps = tuple[Value, Shape]  # and their (channel, x, y[, z])


def add_unet_operations(network: Operations, unet: UNet, image: Maps, classes: int) -> list[Maps]:
    """Add what a U-Net computes while it trains to `network`; returns its logits, from coarse to fine."""
    maps, skips = image, []
    for level in unet.down_levels(image[1][0]):
        sizes = divide(maps[1][1:], level.pool or level.stride)
        if level.pool:
            shape = level.channels, *sizes
            maps = network.pool("max", maps[0], math.prod(shape), unet.spatial_dims), shape
        maps = _level(network, unet, maps, sizes, level.filters, level.kernel)
        skips.append(maps)
    logits = []
    for up in unet.up_levels():
        joined = _step_up(network, unet, maps, skips[up.skip], up)
        before, maps = maps, _level(network, unet, joined, joined[1][1:], up.filters, up.kernel)
        network.hold(before[0])
        if up.has_output:
            logits.append(_convolve(network, maps, maps[1][1:], unet.channels(classes), unet.ones, bias=True))
    return logits


def _level(network: Operations, unet: UNet, entering: Maps, sizes: Shape, filters: Shape, kernel: Shape) -> Maps:
    maps = entering
    for number, count in enumerate(filters):
        if number:
            maps = _activate(network, unet, maps)
        maps = _normalized(network, unet, maps, sizes, count, kernel)
    if unet.residual:
        shortcut = entering
        if entering[1] != maps[1]:
            shortcut = _normalized(network, unet, entering, sizes, filters[-1], unet.ones)
        maps = network.add(maps[0], shortcut[0]), maps[1]
    network.hold(entering[0])
    maps = _activate(network, unet, maps)
    return (network.drop_out(maps[0]), maps[1]) if unet.drop_out else maps


def _normalized(network: Operations, unet: UNet, maps: Maps, sizes: Shape, filters: int, kernel: Shape) -> Maps:
    kind = unet.normalization
    result, shape = _convolve(network, maps, sizes, filters, kernel, bias=kind == "none")
    return result if kind == "none" else network.normalize(result, filters, kind), shape


def _convolve(network: Operations, maps: Maps, sizes: Shape, filters: int, kernel: Shape, *, bias: bool) -> Maps:
    value, (channels, *entering) = maps
    if any(extent % 2 == 0 for extent in kernel):
        padded = [size + extent - 1 for size, extent in zip(entering, kernel, strict=True)]
        value = network.copy(value, channels * math.prod(padded))
    stride = [-(-before // after) for before, after in zip(entering, sizes, strict=True)]
    if takes_samples_first(channels, kernel, stride):
        value = network.copy(value, channels * math.prod(sizes))
    positions, weights = math.prod(sizes), math.prod(kernel) * channels * filters
    thin = max(kernel) == 1 and sizes == tuple(entering)
    result = network.convolve(value, filters * positions, positions, weights, filters * bias, thin=thin)
    return result, (filters, *sizes)


def _step_up(network: Operations, unet: UNet, maps: Maps, skip: Maps, level: UpLevel) -> Maps:
    """Upsampled maps, cropped to the size of the skip connection, and concatenation with it."""
    value, (channels, *sizes) = maps
    positions, sizes_up = math.prod(sizes), skip[1][1:]
    count = level.upsampled * positions * math.prod(level.scale)
    if unet.upsampling == "transposed":
        weights = math.prod(level.scale) * channels * level.upsampled
        value = network.convolve(value, count, positions, weights, level.upsampled, part=True)
    else:
        value = network.copy(value, count, part=True)
    cropped = level.upsampled * math.prod(sizes_up)
    if count != cropped:
        value = network.cut(value, cropped)
    return network.join(value, skip[0]), (level.joined, *sizes_up)


def _activate(network: Operations, unet: UNet, maps: Maps) -> Maps:
    return network.activate(maps[0], unet.activation, in_place=unet.activation != "tanh"), maps[1]
