"""Building blocks of networks as torch modules. Tensors are (n, channel, x, y[, z])."""

from collections.abc import Callable
from itertools import chain
from typing import Literal

import torch
import torch.nn.functional as F
from torch import nn

from voxray.models.padding import Pairs, takes_samples_first

# Callable, because their sizes are tuples of two or of three numbers, which have no common type.
CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
BATCH: dict[int, Callable[..., nn.Module]] = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
ACTIVATIONS: dict[str | None, type[nn.Module]] = {
    None: nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}
Sizes = tuple[int, ...]


class PaddedConvolution(nn.Module):
    """A convolution with zero padding that may differ between the two sides of an axis."""

    def __init__(
        self, channels: int, filters: int, kernel: Sizes, stride: Sizes, pairs: Pairs, *, bias: bool = True
    ) -> None:
        super().__init__()
        even = all(before == after for before, after in pairs)
        # Padding by the convolution itself needs no copy.
        padding = tuple(before if even else 0 for before, _ in pairs)
        self.padding = [] if even else _last_axis_first(pairs)
        self.kernel = tuple(kernel)
        self.steps = tuple(stride) if takes_samples_first(channels, kernel, stride) else ()
        step = [1] * len(stride) if self.steps else stride
        self.convolution = CONVOLUTIONS[len(kernel)](channels, filters, kernel, step, padding, bias=bias)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, filters, …)."""
        padded = F.pad(maps, self.padding) if self.padding else maps
        if needs_float32(padded, self.kernel):
            with torch.autocast("cpu", enabled=False):
                whole: torch.Tensor = self.convolution(padded.float())
            return whole.bfloat16()
        result: torch.Tensor = self.convolution(_every(padded, self.steps) if self.steps else padded)
        return result


def needs_float32(maps: torch.Tensor, kernel: Sizes) -> bool:
    """Whether a convolution must not compute in bfloat16: on a CPU, of maps shorter than its kernel along an axis.

    PyTorch 2.13 then leaves memory that was never written in the gradient of the weights (oneDNN with AVX-512), which
    makes them infinite, not a number, or silently wrong. Such maps are small, so float32 costs nothing.
    """
    bfloat16 = maps.is_cpu and torch.is_autocast_enabled("cpu")
    return bfloat16 and any(size < extent for size, extent in zip(maps.shape[2:], kernel, strict=True))


class PaddedPooling(nn.Module):
    """Max or mean over windows; padding is never the maximum and does not count in the mean."""

    def __init__(self, pool: str, sizes: Sizes, kernel: Sizes, stride: Sizes, pairs: Pairs) -> None:
        super().__init__()
        self.padding = _last_axis_first(pairs) if any(chain.from_iterable(pairs)) else []
        self.kernel, self.stride, self.mean = kernel, stride, pool == "avg"
        self.spatial_dims = len(sizes)
        if self.mean and self.padding:
            ones = F.pad(torch.ones(1, 1, *sizes), self.padding)
            self.register_buffer("inside", self._average(ones), persistent=False)

    def _average(self, maps: torch.Tensor) -> torch.Tensor:
        average = F.avg_pool3d if self.spatial_dims == 3 else F.avg_pool2d
        return average(maps, self.kernel, self.stride)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, channel, …)."""
        if self.mean:
            if not self.padding:
                return self._average(maps)
            return self._average(F.pad(maps, self.padding)) / self.get_buffer("inside")
        largest = F.max_pool3d if self.spatial_dims == 3 else F.max_pool2d
        padded = F.pad(maps, self.padding, value=float("-inf")) if self.padding else maps
        return largest(padded, self.kernel, self.stride)


class GlobalMean(nn.Module):
    """The mean of each map."""

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, channel)."""
        return maps.flatten(2).mean(2)


class ResidualBlock(nn.Module):
    """The sum of a body and a shortcut with the same input."""

    def __init__(self, body: nn.Module, shortcut: nn.Module, activation: nn.Module) -> None:
        super().__init__()
        self.body, self.shortcut, self.activation = body, shortcut, activation

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, filters, …)."""
        result: torch.Tensor = self.activation(self.body(maps) + self.shortcut(maps))
        return result


class BinaryToTwoLogits(nn.Module):
    """A logit z of the second of two classes as logits of both: 0 and z.

    Their softmax is (1 - σ(z), σ(z)) and their cross-entropy is the binary one of σ(z), so that callers need no special
    case.
    """

    def forward(self, logit: torch.Tensor) -> torch.Tensor:
        """(n, 1) → (n, 2)."""
        return F.pad(logit, (1, 0))


def build_normalization(
    kind: Literal["batch", "instance"], spatial_dims: int, channels: int, epsilon: float = 1e-5, momentum: float = 0.1
) -> nn.Module:
    """Normalization of 2D or 3D maps. `momentum` is the weight of the newest batch in the running means."""
    if kind == "batch":
        return BATCH[spatial_dims](channels, epsilon, momentum)
    # A group for each channel is instance normalization, without torch's copies to another memory format.
    return nn.GroupNorm(channels, channels, epsilon)


def _every(maps: torch.Tensor, steps: Sizes) -> torch.Tensor:
    """Every so many voxels along x and y, in the same memory format."""
    last = maps.is_contiguous(memory_format=torch.channels_last)
    layout = torch.channels_last if last else torch.contiguous_format
    return maps[:, :, :: steps[0], :: steps[1]].contiguous(memory_format=layout)


def _last_axis_first(pairs: Pairs) -> list[int]:
    """Padding in the order of `torch.nn.functional.pad`."""
    return list(chain.from_iterable(reversed(pairs)))
