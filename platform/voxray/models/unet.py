"""The U-Net as a torch module. Tensors are (n, channel, x, y[, z]).

Nothing in it depends on the size of the input: what was trained on patches takes whole scans.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import nn

from voxray.models.blocks import ACTIVATIONS, PaddedConvolution, Sizes, build_normalization
from voxray.models.padding import center
from voxray.models.spec.unet import UNet

TRANSPOSED: dict[int, Callable[..., nn.Module]] = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
LINEAR = {2: "bilinear", 3: "trilinear"}


class Level(nn.Module):
    """The convolutions of one level, with what enters added to what leaves where the U-Net is residual."""

    def __init__(self, unet: UNet, channels: int, filters: Sizes, kernel: Sizes, stride: Sizes) -> None:
        super().__init__()
        ones = (1,) * len(stride)
        body: list[nn.Module] = []
        for number, (before, after) in enumerate(pairwise((channels, *filters))):
            if number:
                body.append(_activation(unet))
            body += _normalized(unet, before, after, kernel, ones if number else stride)
        self.body = nn.Sequential(*body)
        self.residual = unet.residual
        adapted = unet.residual and (channels != filters[-1] or max(stride) > 1)
        self.shortcut = nn.Sequential(*(_normalized(unet, channels, filters[-1], ones, stride) if adapted else []))
        self.end = nn.Sequential(_activation(unet), *unet.dropout_modules())

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, filters[-1], ceil(… / stride))."""
        result = self.body(maps)
        if self.residual:
            result = result + self.shortcut(maps)
        ended: torch.Tensor = self.end(result)
        return ended


class StepUp(nn.Module):
    """Upsamples maps by a stride, cuts them to the size of a skip, and puts the skip beside them.

    A transposed convolution also changes the number of channels, to that of the skip. Sizes that the stride doesn't
    divide were rounded up on the way down, so there is always enough to cut from, and voxels stay where they were.
    """

    def __init__(self, unet: UNet, channels: int, skip_channels: int, stride: Sizes) -> None:
        super().__init__()
        spatial_dims = len(stride)
        self.scale = [float(step) for step in stride]
        self.mode = LINEAR[spatial_dims] if unet.upsampling == "linear" else "nearest"
        transposed = unet.upsampling == "transposed"
        self.transposed = TRANSPOSED[spatial_dims](channels, skip_channels, stride, stride) if transposed else None

    def forward(self, maps: torch.Tensor, skip: torch.Tensor) -> torch.Tensor:
        """(n, channel, …), (n, skip channel, …) → (n, both together, size of the skip)."""
        if self.transposed is not None:
            larger = self.transposed(maps)
        else:
            larger = F.interpolate(maps, scale_factor=self.scale, mode=self.mode)
        for axis, size in enumerate(skip.shape[2:], 2):
            larger = larger.narrow(axis, 0, size)
        return torch.cat([larger, skip], 1)


class UNetModel(nn.Module):
    """Gives logits: a tensor, or while training with deep supervision a list of them from fine to coarse.

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
        ones = (1,) * unet.spatial_dims
        strides = (ones, *unet.strides)
        pooled = unet.pooling == "max"
        pool = POOLS[unet.spatial_dims]
        entering = (channels, *(filters[-1] for filters in unet.down))
        self.pools = nn.ModuleList(
            pool(stride, stride, ceil_mode=True) if pooled and level else nn.Identity()
            for level, stride in enumerate(strides)
        )
        self.down = nn.ModuleList(
            Level(unet, entering[level], filters, unet.kernels[level], ones if pooled else strides[level])
            for level, filters in enumerate(unet.down)
        )
        self.steps_up, self.up, self.outputs = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        rising = entering[-1]
        for step, filters in enumerate(unet.up):
            level = len(unet.down) - 2 - step
            skip = unet.down[level][-1]
            self.steps_up.append(StepUp(unet, rising, skip, unet.strides[level]))
            joined = (skip if unet.upsampling == "transposed" else rising) + skip
            self.up.append(Level(unet, joined, filters, unet.kernels[level], ones))
            rising = filters[-1]
            if unet.deep_supervision or step == len(unet.up) - 1:
                self.outputs.append(_convolution(rising, unet.channels(classes), ones, ones))
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
    # In place where torch knows how: half of the memory of a level is what activations would copy.
    return kind() if unet.activation == "tanh" else kind(inplace=True)


def _initialize(model: UNetModel) -> None:
    """He et al. 2015, normal, fan in; what gives logits or upsamples with the spread of a linear layer; biases zero."""
    linear = {id(module) for output in model.outputs for module in output.modules()}
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if id(module) in linear else "relu")
        elif isinstance(module, nn.ConvTranspose2d | nn.ConvTranspose3d):
            # Each voxel of the output comes from one voxel of the input: only channels fan in.
            nn.init.normal_(module.weight, std=module.in_channels**-0.5)
        else:
            continue
        if module.bias is not None:
            nn.init.zeros_(module.bias)
