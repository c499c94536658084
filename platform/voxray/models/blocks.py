"""The layers of the JSON dialect as torch modules. Tensors are (n, channel, x, y[, z])."""

from collections.abc import Callable
from itertools import chain

import torch
import torch.nn.functional as F
from torch import nn

from voxray.models.shapes import same_padding

# Their sizes are tuples of two or of three, which no common type says.
CONVOLUTIONS: dict[int, Callable[..., nn.Module]] = {2: nn.Conv2d, 3: nn.Conv3d}
ACTIVATIONS: dict[str | None, type[nn.Module]] = {
    None: nn.Identity,
    "relu": nn.ReLU,
    "leaky_relu": nn.LeakyReLU,
    "elu": nn.ELU,
    "tanh": nn.Tanh,
    "sigmoid": nn.Sigmoid,
}


def pad_list(sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]) -> list[int]:
    """SAME padding in the order of `torch.nn.functional.pad`: last axis first, before and after."""
    pairs = [same_padding(*triple) for triple in zip(sizes, kernel, stride, strict=True)]
    return list(chain.from_iterable(reversed(pairs)))


class SameConvolution(nn.Module):
    """A convolution whose output is ceil(size / stride)."""

    def __init__(
        self, channels: int, filters: int, sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]
    ) -> None:
        super().__init__()
        padding = pad_list(sizes, kernel, stride)
        even = padding[::2] == padding[1::2]
        # What the convolution can pad by itself costs no copy.
        own = tuple(reversed(padding[::2])) if even else tuple(0 for _ in sizes)
        self.padding = [] if even else padding
        self.convolution = CONVOLUTIONS[len(sizes)](channels, filters, kernel, stride, own)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, filters, ceil(… / stride))."""
        result: torch.Tensor = self.convolution(F.pad(maps, self.padding) if self.padding else maps)
        return result


class SamePooling(nn.Module):
    """Max or mean over windows; what was padded is never the maximum and does not count in the mean."""

    def __init__(self, pool: str, sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]) -> None:
        super().__init__()
        self.padding = pad_list(sizes, kernel, stride)
        self.kernel, self.stride, self.mean = kernel, stride, pool == "avg"
        self.rank = len(sizes)
        if self.mean:
            ones = F.pad(torch.ones(1, 1, *sizes), self.padding)
            self.register_buffer("share", self._average(ones), persistent=False)

    def _average(self, maps: torch.Tensor) -> torch.Tensor:
        average = F.avg_pool3d if self.rank == 3 else F.avg_pool2d
        return average(maps, self.kernel, self.stride)

    def forward(self, maps: torch.Tensor) -> torch.Tensor:
        """(n, channel, …) → (n, channel, ceil(… / stride))."""
        if self.mean:
            return self._average(F.pad(maps, self.padding)) / self.get_buffer("share")
        largest = F.max_pool3d if self.rank == 3 else F.max_pool2d
        padded = F.pad(maps, self.padding, value=float("-inf")) if any(self.padding) else maps
        return largest(padded, self.kernel, self.stride)
