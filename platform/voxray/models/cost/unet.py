"""The operations of a U-Net: what `models.unet` builds, module by module."""

import math

from voxray.models.cost.operations import Operations, Value
from voxray.models.padding import divide
from voxray.models.spec.unet import UNet

Sizes = tuple[int, ...]
Maps = tuple[Value, Sizes]  # and their (channel, x, y[, z])


def run_unet(network: Operations, unet: UNet, image: Maps, classes: int) -> list[Maps]:
    """Note the operations of a U-Net that is trained; returns its logits, from coarse to fine."""
    maps, skips = image, []
    for level, filters in enumerate(unet.down):
        stride = unet.strides[level - 1] if level else (1,) * unet.spatial_dims
        sizes = divide(maps[1][1:], stride)
        if level and unet.pooling == "max":
            shape = maps[1][0], *sizes
            maps = network.pool("max", maps[0], math.prod(shape), unet.spatial_dims), shape
        maps = _level(network, unet, maps, sizes, filters, unet.kernels[level])
        skips.append(maps)
    skips.pop()
    logits = []
    for step, filters in enumerate(unet.up):
        level = len(unet.down) - 2 - step
        joined = _step_up(network, unet, maps, skips.pop(), unet.strides[level])
        before, maps = maps, _level(network, unet, joined, joined[1][1:], filters, unet.kernels[level])
        network.hold(before[0])
        if unet.deep_supervision or step == len(unet.up) - 1:
            logits.append(
                _convolve(network, maps, maps[1][1:], unet.channels(classes), (1,) * unet.spatial_dims, bias=True)
            )
    return logits


def _level(network: Operations, unet: UNet, entering: Maps, sizes: Sizes, filters: Sizes, kernel: Sizes) -> Maps:
    maps = entering
    for number, wanted in enumerate(filters):
        if number:
            maps = _activate(network, unet, maps)
        maps = _normalized(network, unet, maps, sizes, wanted, kernel)
    if unet.residual:
        shortcut = entering
        if entering[1] != maps[1]:
            shortcut = _normalized(network, unet, entering, sizes, filters[-1], (1,) * unet.spatial_dims)
        maps = network.add(maps[0], shortcut[0]), maps[1]
    network.hold(entering[0])
    maps = _activate(network, unet, maps)
    return (network.drop_out(maps[0]), maps[1]) if unet.drop_out else maps


def _normalized(network: Operations, unet: UNet, maps: Maps, sizes: Sizes, filters: int, kernel: Sizes) -> Maps:
    kind = unet.normalization
    result, shape = _convolve(network, maps, sizes, filters, kernel, bias=kind == "none")
    return result if kind == "none" else network.normalize(result, filters, kind), shape


def _convolve(network: Operations, maps: Maps, sizes: Sizes, filters: int, kernel: Sizes, *, bias: bool) -> Maps:
    value, (channels, *entering) = maps
    if any(extent % 2 == 0 for extent in kernel):
        padded = [size + extent - 1 for size, extent in zip(entering, kernel, strict=True)]
        value = network.copy(value, channels * math.prod(padded))
    positions, weights = math.prod(sizes), math.prod(kernel) * channels * filters
    thin = max(kernel) == 1 and sizes == tuple(entering)
    result = network.convolve(value, filters * positions, positions, weights, filters * bias, thin=thin)
    return result, (filters, *sizes)


def _step_up(network: Operations, unet: UNet, maps: Maps, skip: Maps, stride: Sizes) -> Maps:
    """Upsampled maps, cut to the size of the skip, and the skip beside them."""
    channels, *sizes = maps[1]
    positions = math.prod(sizes)
    finer, wanted = positions * math.prod(stride), math.prod(skip[1][1:])
    if unet.upsampling == "transposed":
        weights = math.prod(stride) * channels * skip[1][0]
        channels = skip[1][0]
        larger = network.convolve(maps[0], channels * finer, positions, weights, channels, part=True)
    else:
        larger = network.copy(maps[0], channels * finer, part=True)
    if finer != wanted:
        larger = network.cut(larger, channels * wanted)
    return network.join(larger, skip[0]), (channels + skip[1][0], *skip[1][1:])


def _activate(network: Operations, unet: UNet, maps: Maps) -> Maps:
    return network.activate(maps[0], unet.activation, in_place=unet.activation != "tanh"), maps[1]
