"""The U-Net as a torch module. Tensors are (n, channel, x, y[, z]).

Nothing in it depends on the size of the input: a network that was trained on patches accepts whole scans.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from voxray.models.blocks import ACTIVATIONS, PaddedConvolution, Sizes, build_normalization
from voxray.models.padding import center
from voxray.models.spec.unet import UNet, UpLevel

TRANSPOSED: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


class Level(nn.Module):
    """The convolutions of one level; in a residual U-Net its input is added to its output."""

    def __init__(self, unet: UNet, channels: int, filters: Sizes, kernel: Sizes, stride: Sizes) -> None:
        super().__init__()
        body: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((channels, *filters))):
            if number:
                body.append(_activation(unet))
            body += _normalized(unet, before, after, kernel, unet.ones if number else stride)
        self.body = nn.Sequential(*body)
        self.residual = unet.residual
        adapted = unet.has_projection(channels, filters[-1], stride)
        self.shortcut = nn.Sequential(*(_normalized(unet, channels, filters[-1], unet.ones, stride) if adapted else []))
        self.end = nn.Sequential(_activation(unet), *unet.dropout_modules())

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, filters[-1], ceil(… / stride))."""
        result = self.body(maps)
        if self.residual:
            result = result + self.shortcut(maps)
        output: torch.Tensor = self.end(result)
        return output


class StepUp(nn.Module):
    """Upsamples maps, crops them to the size of a skip connection and concatenates both.

    A transposed convolution also changes the number of channels, to that of the skip connection. Sizes are rounded up
    on the way down, so the upsampled maps are never too small, and voxels keep their positions.
    """

    def __init__(self, unet: UNet, level: UpLevel) -> None:
        super().__init__()
        self.scale = [float(factor) for factor in level.scale]
        self.mode = LINEAR[unet.spatial_dims] if unet.upsampling == "linear" else "nearest"
        self.transposed: nn.Module | None = None
        if unet.upsampling == "transposed":
            kind = TRANSPOSED[unet.spatial_dims]
            self.transposed = kind(level.channels, level.upsampled, level.scale, level.scale)

    def forward(self, maps: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(n, channel, …), (n, skip channel, …) → (n, sum of channels, size of the skip connection)."""
        if self.transposed is not None:
            larger = self.transposed(maps)
        else:
            larger = F.interpolate(maps, scale_factor=self.scale, mode=self.mode)
        for axis, size in enumerate(skip.shape[2:], 2):
            larger = larger.narrow(axis, 0, size)
        return torch.cat([larger, skip], 1)


class UNetModel(nn.Module):
    """Returns logits: a tensor, or while training with deep supervision a list of tensors from fine to coarse.

    Parameters
    ----------
    unet : UNet
    channels : int
        Of the input.
    classes : int
        Background included.
    """

    def __init__(self, unet: UNet, channels: int, classes: int) -> None:
        super().__init__()
        self.pools, self.down = nn.ModuleList(), nn.ModuleList()
        for level in unet.down_levels(channels):
            pool = POOLS[unet.spatial_dims](level.pool, level.pool, ceil_mode=True) if level.pool else nn.Identity()
            self.pools.append(pool)
            self.down.append(Level(unet, level.channels, level.filters, level.kernel, level.stride))
        self.steps_up, self.up, self.outputs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for up in unet.up_levels():
            self.steps_up.append(StepUp(unet, up))
            self.up.append(Level(unet, up.joined, up.filters, up.kernel, unet.ones))
            if up.has_output:
                self.outputs.append(_convolution(up.filters[-1], unet.channels(classes), unet.ones, unet.ones))
        _initialize(self)

    def forward(self, maps: torch.Tensor) -> torch.Tensor | list[torch.Tensor]:
        """(n, channel, x, y[, z]) → logits (n, class, x, y[, z]); see the class for deep supervision."""
        skips: list[torch.Tensor] = []
        for pool, level in zip(self.pools, self.down, strict=True):
            maps = level(pool(maps))
            skips.append(maps)
        skips.pop()
        logits: list[torch.Tensor] = []
        without = len(self.up) - len(self.outputs)
        for step, (rise, level) in enumerate(zip(self.steps_up, self.up, strict=True)):
            maps = level(rise(maps, skips.pop()))
            if step >= without and (self.training or step == len(self.up) - 1):
                logits.append(self.outputs[step - without](maps))
        return logits[::-1] if self.training and len(self.outputs) > 1 else logits[-1]


def _convolution(channels: int, filters: int, kernel: Sizes, stride: Sizes, *, bias: bool = True) -> nn.Module:
    """(n, channel, …) → (n, filters, ceil(… / stride)), with padding that is the same for every size."""
    return PaddedConvolution(channels, filters, kernel, stride, [center(extent) for extent in kernel], bias=bias)


def _normalized(unet: UNet, channels: int, filters: int, kernel: Sizes, stride: Sizes) -> Sequence[nn.Module]:
    if unet.normalization == "none":
        return [_convolution(channels, filters, kernel, stride)]
    convolution = _convolution(channels, filters, kernel, stride, bias=False)
    return [convolution, build_normalization(unet.normalization, unet.spatial_dims, filters)]


def _activation(unet: UNet) -> nn.Module:
    kind = ACTIVATIONS[unet.activation]
    # In place where torch supports it: copies by activations would double the memory of a level.
    return kind() if unet.activation == "tanh" else kind(inplace=True)


def _initialize(model: UNetModel) -> None:
    """Weights as in He et al. 2015 (normal, fan in), as of a linear layer for logits and upsampling; biases zero."""
    linear = {id(module) for output in model.outputs for module in output.modules()}
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if id(module) in linear else "relu")
        elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            # Each voxel of the output comes from one voxel of the input, so the fan in is the number of channels.
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
