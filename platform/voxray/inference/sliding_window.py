"""Sliding-window inference: a whole scan through a network that is given one window of it at a time.

Windows form a grid and overlap; the result of a voxel is the weighted mean over the windows that cover it. Positions
and weights are those of MONAI's ``sliding_window_inference``. Windows are taken with x as the slowest axis, so that a
slab of the scan is finished as soon as the windows have moved past it. Sums are held for one window's thickness, and
the scan is not copied. A part of the scan's y and z needs only the windows that cover it, and sums of its own size.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from voxray.errors import ConfigError

Volume = torch.Tensor | NDArray[Any]
Predict = Callable[[torch.Tensor], torch.Tensor]
Weights = Literal["gaussian", "constant"]
Corner = tuple[int, ...]
Span = tuple[int, int]
Axes = tuple[int, ...]

WHERE = "sliding window"  # in messages
SIGMA_SHARE = 0.125
SMALLEST_WEIGHT = 1e-3
FLOAT_BYTES = 4
ACTIVATED_BYTES = 2**26
# Of values in a row: a part that ends elsewhere has other last bits, as vectors of processors have so many or fewer.
VECTOR_VALUES = 64


def slide_slabs(
    volume: Volume,
    predict: Predict,
    window: Sequence[int],
    overlap: float = 0.5,
    weights: Weights = "gaussian",
    sigma_share: float = SIGMA_SHARE,
    batch_size: int = 4,
    pad_value: float = 0.0,
    device: torch.device | str | None = None,
    activate: Predict | None = None,
    across: tuple[Span, Span] | None = None,
    mirrors: Sequence[Axes] = ((),),
) -> Iterator[tuple[int, torch.Tensor]]:
    """The weighted mean over windows of what `predict` returns, such as logits or probabilities.

    It comes in slabs from low to high x, each yielded as soon as it is finished. A caller that needs only a label map
    can turn each slab into labels, and never holds k values per voxel of the scan.

    Parameters
    ----------
    volume : Tensor or ndarray of any real dtype, (c, x, y, z)
        Neither copied nor converted as a whole.
    predict : callable
        Tensor of float32 (n, c, *window) on `device`, channels last in memory, → Tensor (n, k, *window). Called
        without gradients.
    window : (x, y, z)
        A volume that is smaller along an axis is padded there on both sides, an odd voxel at the end.
    overlap : float in [0, 1)
        Share of a window that the next one covers too.
    weights : {"gaussian", "constant"}
    sigma_share : float
        Standard deviation of the Gaussian as a share of the window.
    batch_size : int
        Windows in one call of `predict`.
    pad_value : float
        Value of the padding, in the volume's numbers.
    device : torch.device or str, optional
        Where `predict` and the sums are computed; by default where the volume is.
    activate : callable, optional
        Applied to what `predict` returns, (1, k, …) float32, before the mean. It is called for a few planes of a
        window at a time, so that the k values of a window are not in memory twice.
    across : ((start, end), (start, end)), optional
        The part of y and z that is wanted, by default all. Its values are the same as those of the whole.
    mirrors : sequence of tuple of int
        A pass each, over which the mean is: the axes (0 to 2) along which windows are mirrored, and their values back.

    Yields
    ------
    int
        First voxel of a slab along x.
    Tensor of float32, (k, thickness, y, z)
        Its values, on `device`. Concatenated along x they have the shape (k, x, y, z), or that of the part.

    Raises
    ------
    ConfigError
        The settings do not make a grid of windows, or `predict` returns another size than it was given.
    """
    _check(volume, window, overlap, batch_size)
    weight = window_weights(window, weights, sigma_share).to(device or _device(volume))
    _, x, y, z = volume.shape
    sums = _Sums((x, y, z), window, overlap, weight, across or ((0, y), (0, z)), len(mirrors))
    corners = itertools.product(*sums.starts)
    while batch := list(itertools.islice(corners, batch_size)):
        wanted = [(number, corner) for number, corner in enumerate(batch) if sums.covers(corner)]
        if not wanted:
            continue
        # A part of y and z has the batches of the whole: the last bits depend on their size.
        images = _cut(volume, batch, sums.weight.shape, pad_value).to(sums.weight.device)
        for turn, axes in enumerate(mirrors, 1):
            values = _predict(predict, _mirrored(images, axes) if axes else images)
            for number, corner in wanted:
                if turn == len(mirrors):
                    # All windows that begin before this one have been added.
                    yield from sums.finish(corner[0])
                for first, part in _activated(values[number], activate, axes):
                    sums.add(corner, first, part)
            # Free the memory for the next pass.
            del values
    yield from sums.finish(x)


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxel of each window along an axis; negative where the volume is smaller than the window.

    Windows are evenly spaced, except for the last one, which ends where the volume ends.
    """
    if size <= window:
        return [-((window - size) // 2)]
    step = max(1, int(window * (1 - overlap)))
    count = 1 + -(-(size - window) // step)
    return [min(number * step, size - window) for number in range(count)]


def covering_starts(size: int, window: int, overlap: float, extent: Span) -> list[int]:
    """As `window_starts`, without the windows that lie outside an extent of the axis."""
    starts = window_starts(size, window, overlap)
    return [start for start in starts if start < extent[1] and start + window > extent[0]]


def window_weights(window: Sequence[int], weights: Weights, sigma_share: float = SIGMA_SHARE) -> torch.Tensor:
    """The weight of each voxel of a window.

    As in MONAI, no weight is smaller than 0.001: the corners of a Gaussian are so small that a voxel that only a corner
    covers would be noise divided by noise.

    Returns
    -------
    Tensor of float32, (x, y, z)
    """
    if weights == "constant":
        return torch.ones(tuple(window))
    product = torch.ones(())
    for width in window:
        offset = torch.arange(width, dtype=torch.float32) - (width - 1) / 2
        product = product[..., None] * torch.exp(offset**2 / (-2 * (sigma_share * width) ** 2))
    return product.clamp_(min=SMALLEST_WEIGHT)


class _Sums:
    """Weighted sums of the windows' values, in spans along x.

    Attributes
    ----------
    starts : list of list of int
        First voxel of each window, along each axis.
    spans : list of (int, int)
        Parts of the scan along x that are not finished yet, in which no window begins or ends. Those that no window has
        reached take no memory.
    """

    def __init__(
        self,
        size: tuple[int, int, int],
        window: Sequence[int],
        overlap: float,
        weight: torch.Tensor,
        across: tuple[Span, Span],
        passes: int,
    ) -> None:
        self.weight, self.across, self.passes = weight, across, passes
        self.starts = [window_starts(axis, width, overlap) for axis, width in zip(size, window, strict=True)]
        inside = [_inside(start, window[0], (0, size[0]))[0] for start in self.starts[0]]
        self.spans = list(itertools.pairwise(sorted({edge for part in inside for edge in (part.start, part.stop)})))
        self._sums: dict[Span, torch.Tensor] = {}

    def covers(self, corner: Corner) -> bool:
        """Whether the window at `corner` has a part in the part of y and z."""
        sides = zip(corner[1:], self.weight.shape[1:], self.across, strict=True)
        return all(start < high and start + width > low for start, width, (low, high) in sides)

    def add(self, corner: Corner, first: int, values: torch.Tensor) -> None:
        """Add some planes, (k, thickness, y, z), of the prediction for the window at `corner`, from the first one."""
        start, shape = (corner[0] + first, *corner[1:]), values.shape[1:]
        weight = self.weight[first : first + shape[0]]
        for span in self.spans:
            target, source = _overlap(start, shape, self._region(span))
            if target[0].start < target[0].stop:
                if span not in self._sums:
                    size = [high - low for low, high in self._region(span)]
                    self._sums[span] = torch.zeros((len(values), *size), device=self.weight.device)
                self._sums[span][(slice(None), *target)].addcmul_(values[(slice(None), *source)], weight[source])

    def finish(self, before: int) -> Iterator[tuple[int, torch.Tensor]]:
        """Yield and drop the means of all spans that end at `before` or earlier, low x first."""
        thickness = len(self.weight)
        while self.spans and self.spans[0][1] <= before:
            low, high = span = self.spans.pop(0)
            values = self._sums.pop(span)
            for start in range(low, high, thickness):
                part = (start, min(start + thickness, high))
                values[:, part[0] - low : part[1] - low] /= self._weight_sum(part) * self.passes
            yield low, values

    def _weight_sum(self, span: Span) -> torch.Tensor:
        """Sum of the weights of all windows over a span, (thickness, y, z)."""
        total = self.weight
        # Windows are summed along x, their rows along y, and these along z.
        for axis, region in enumerate(self._region(span)):
            part, shape = total, list(total.shape)
            shape[axis] = region[1] - region[0]
            total = torch.zeros(shape, device=part.device)
            for start in self.starts[axis]:
                target, source = _inside(start, part.shape[axis], region)
                width = target.stop - target.start
                if width > 0:
                    total.narrow(axis, target.start, width).add_(part.narrow(axis, source.start, width))
        return total

    def _region(self, span: Span) -> tuple[Span, Span, Span]:
        return span, *self.across


def _activated(values: torch.Tensor, activate: Predict | None, axes: Axes) -> Iterator[tuple[int, torch.Tensor]]:
    """The planes of a window's values, (k, x, y, z), a few at a time: the first one's number, and what becomes of them.

    Windows that were mirrored along `axes` are turned back.
    """
    count, width, *plane = values.shape
    voxels = math.prod(plane)
    least = VECTOR_VALUES // math.gcd(VECTOR_VALUES, voxels)
    step = least * max(1, ACTIVATED_BYTES // (FLOAT_BYTES * count * voxels * least))
    for low in range(0, width, step):
        part = values[:, low : low + step].to(torch.float32)
        if activate is not None:
            part = activate(part[None])[0]
        if axes:
            part = part.flip([1 + axis for axis in axes])
        yield (width - low - part.shape[1] if 0 in axes else low), part


def _inside(start: int, width: int, region: Span) -> tuple[slice, slice]:
    """The part of a window inside a region along an axis: relative to the region, and relative to the window.

    For a window outside the region the slices are empty or negative.
    """
    low, high = max(start, region[0]), min(start + width, region[1])
    return slice(low - region[0], high - region[0]), slice(low - start, high - start)


def _overlap(
    corner: Corner, window: Sequence[int], region: Sequence[Span]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """As `_inside`, for all axes."""
    axes = [_inside(*axis) for axis in zip(corner, window, region, strict=True)]
    return tuple(part for part, _ in axes), tuple(part for _, part in axes)


def _cut(volume: Volume, corners: list[Corner], window: Sequence[int], pad_value: float) -> torch.Tensor:
    """The windows at `corners`, padded, as a batch of float32 on the volume's device.

    Their memory format is channels last, in which convolutions are fastest. Otherwise each layer would reorder its maps
    and back, which on CPUs takes as long as some convolutions.
    """
    shape = (len(corners), volume.shape[0], *window)
    batch = torch.empty(shape, device=_device(volume), memory_format=torch.channels_last_3d).fill_(pad_value)
    source: Any = volume
    target: Any = batch
    if not isinstance(source, torch.Tensor) or (source.is_cpu and source.dtype != torch.bfloat16):
        # NumPy reads what torch cannot: memory maps, flipped axes, swapped bytes. And for so small a copy the threads
        # of torch wait longer for each other on a busy machine than the copy takes.
        source, target = np.asarray(source), batch.numpy()
    extents = [(0, width) for width in volume.shape[1:]]
    for number, corner in enumerate(corners):
        inside, part = _overlap(corner, window, extents)
        target[(number, slice(None), *part)] = source[(slice(None), *inside)]
    return batch


def _mirrored(images: torch.Tensor, axes: Axes) -> torch.Tensor:
    return images.flip([2 + axis for axis in axes]).contiguous(memory_format=torch.channels_last_3d)


def _device(volume: Volume) -> torch.device:
    return volume.device if isinstance(volume, torch.Tensor) else torch.device("cpu")


def _predict(predict: Predict, batch: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        values = predict(batch)
    if (values.ndim, values.shape[0], values.shape[2:]) != (batch.ndim, batch.shape[0], batch.shape[2:]):
        shapes = f"{tuple(values.shape)} for {tuple(batch.shape)}"
        problem = f"expected the network to return a map as large as its window, got {shapes}"
        raise ConfigError(WHERE, problem, "Choose a window that the network's strides divide")
    return values


def _check(volume: Volume, window: Sequence[int], overlap: float, batch_size: int) -> None:
    if volume.ndim != 4 or 0 in volume.shape:
        raise ConfigError(WHERE, f"expected a volume (channel, x, y, z), got shape {tuple(volume.shape)}")
    if len(window) != 3 or min(window) < 1:
        raise ConfigError(WHERE, f"expected a window of three positive sizes, got {tuple(window)}")
    if not 0 <= overlap < 1:
        raise ConfigError(WHERE, f"expected an overlap of at least 0 and less than 1, got {overlap}")
    if batch_size < 1:
        raise ConfigError(WHERE, f"expected a batch size of at least 1, got {batch_size}")
