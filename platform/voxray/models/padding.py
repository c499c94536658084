"""Padding of convolutions and pooling, and the sizes of their outputs."""

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal

Padding = Literal["same", "centered", "valid"]
Pairs = Sequence[tuple[int, int]]  # padding before and after each axis
Sizes = Sequence[int]


@lru_cache(maxsize=10_000)
def pad_axes(
    padding: Padding, sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]
) -> tuple[tuple[int, int], ...]:
    """Padding before and after each axis; cached, because searches need the same sizes many times."""
    return tuple(pad_axis(padding, *axis) for axis in zip(sizes, kernel, stride, strict=True))


def pad_axis(padding: Padding, size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Padding before and after one axis.

    ``same`` is TensorFlow's: as much as ceil(size / stride) outputs need, the odd voxel at the far side.
    """
    if padding == "valid":
        return 0, 0
    if padding == "centered":
        return center(kernel)
    total = max((math.ceil(size / stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def takes_samples_first(channels: int, kernel: Sizes, stride: Sizes) -> bool:
    """Whether a convolution gets only the voxels that its kernel of size 1 is applied to, as a copy.

    With them all, PyTorch 2.13 on a CPU with AVX-512 writes outside of its memory in the backward pass of a 2D
    convolution of size 1 with a stride, channels last and fewer than 16 channels, and the process crashes.
    """
    return len(kernel) == 2 and channels < 16 and max(kernel) == 1 < max(stride)


def center(kernel: int) -> tuple[int, int]:
    """Padding that centers windows on every stride-th voxel from the first one on, for any size.

    It is (k - 1) / 2 on both sides, as in PyTorch's networks; the odd voxel of an even kernel is at the far side.
    """
    return (kernel - 1) // 2, kernel // 2


def sizes_after(padding: Padding, sizes: Sizes, kernel: Sizes, stride: Sizes) -> tuple[int, ...]:
    """Outputs along each axis; 0 where a kernel without padding is larger than the axis."""
    if padding == "valid":
        axes = zip(sizes, kernel, stride, strict=True)
        return tuple(max((size - extent) // step + 1, 0) for size, extent, step in axes)
    return divide(sizes, stride)


def divide(sizes: Sizes, stride: Sizes) -> tuple[int, ...]:
    """Sizes divided by a stride, rounded up."""
    return tuple([-(-size // step) for size, step in zip(sizes, stride, strict=True)])
