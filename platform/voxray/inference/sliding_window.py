"""A whole scan through a network that sees one window of it at a time.

Windows lie on a grid and overlap; a voxel's result is the weighted mean of what the windows over it say. Positions
and weights are those of MONAI's ``sliding_window_inference``. Windows are taken with x as the slowest axis, so that a
slab of the scan is finished, and can be given away, as soon as the windows have moved past it. `slide_slabs` holds sums
of one window's thickness, `slide` those of the scan, which become its result; neither holds a copy of the scan, and
sums of weights are made for a window's thickness at a time.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
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

SIGMA_SHARE = 0.125
SMALLEST_WEIGHT = 1e-3


@dataclass(frozen=True, eq=False)
class Slab:
    """A finished part of the result.

    Attributes
    ----------
    start : int
        First voxel along x.
    values : Tensor of float32, (k, thickness, y, z)
    """

    start: int
    values: torch.Tensor


def slide(
    volume: Volume,
    predict: Predict,
    window: Sequence[int],
    overlap: float = 0.5,
    weights: Weights = "gaussian",
    sigma_share: float = SIGMA_SHARE,
    batch_size: int = 4,
    pad_value: float = 0.0,
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """The weighted mean over windows of whatever `predict` returns: of logits if logits, of probabilities if those.

    Parameters
    ----------
    volume : Tensor or ndarray of any real dtype, (c, x, y, z)
        Neither copied nor converted as a whole.
    predict : callable
        Tensor of float32 (n, c, *window) on `device`, channels last in memory, → Tensor (n, k, *window). Called
        without gradients.
    window : (x, y, z)
        A volume that is smaller along an axis is padded there on both sides, the odd voxel behind.
    overlap : float in [0, 1)
        Share of a window that the next one covers again.
    weights : {"gaussian", "constant"}
    sigma_share : float
        Standard deviation of the Gaussian as a share of the window.
    batch_size : int
        Windows in one call of `predict`.
    fill : float
        Value of the padding, in the volume's numbers.
    device : torch.device or str, optional
        Where `predict` and the sums are computed; by default where the volume is.

    Returns
    -------
    Tensor of float32, (k, x, y, z)
        On the device of `volume`.

    Raises
    ------
    ConfigError
        If the settings mean no grid of windows, or `predict` returns another size than it was given.
    """
    home = _home(volume)
    if torch.device(device or home) == home:
        _check(volume, window, overlap, batch_size)
        sums = _Sums(volume.shape[1:], window, overlap, window_weights(window, weights, sigma_share).to(home))
        (whole,) = _finished(volume, predict, sums, batch_size, pad_value)
        return whole.values
    slabs = slide_slabs(volume, predict, window, overlap, weights, sigma_share, batch_size, pad_value, device)
    first = next(slabs)
    result = torch.empty((len(first.values), *volume.shape[1:]), device=home)
    for slab in itertools.chain([first], slabs):
        result[:, slab.start : slab.start + slab.values.shape[1]] = slab.values
    return result


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
) -> Iterator[Slab]:
    """As `slide`, in slabs from low to high x, each given away as soon as it is finished.

    Who needs a label map only turns each slab into labels and never holds k values a voxel of the whole scan.

    Yields
    ------
    Slab
        On `device`. Put end to end along x they are what `slide` returns.
    """
    _check(volume, window, overlap, batch_size)
    weight = window_weights(window, weights, sigma_share).to(device or _home(volume))
    sums = _Sums(volume.shape[1:], window, overlap, weight)
    inside = [_inside(start, window[0], (0, sums.size[0]))[0] for start in sums.starts[0]]
    # No window begins or ends within such a span.
    edges = sorted({edge for part in inside for edge in (part.start, part.stop)})
    sums.spans = list(itertools.pairwise(edges))
    yield from _finished(volume, predict, sums, batch_size, pad_value)


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """First voxel of each window along an axis; before the volume where that is smaller than the window.

    Windows keep their distance, but for the last one, which ends where the volume ends.
    """
    if size <= window:
        return [-((window - size) // 2)]
    step = max(1, int(window * (1 - overlap)))
    count = 1 + -(-(size - window) // step)
    return [min(number * step, size - window) for number in range(count)]


def window_weights(window: Sequence[int], weights: Weights, sigma_share: float = SIGMA_SHARE) -> torch.Tensor:
    """How much each voxel of a window counts.

    A Gaussian's corners would be so small that a voxel seen by one corner only were noise divided by noise; as in
    MONAI, no weight is smaller than 0.001.

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


def _finished(volume: Volume, predict: Predict, sums: "_Sums", batch_size: int, pad_value: float) -> Iterator[Slab]:
    """Predict every window, x slowest, and give away what no later window reaches."""
    corners = itertools.product(*sums.starts)
    while batch := list(itertools.islice(corners, batch_size)):
        values = _predict(predict, _cut(volume, batch, sums.weight.shape, pad_value).to(sums.weight.device))
        for number, corner in enumerate(batch):
            yield from sums.finish(corner[0])
            sums.add(corner, values[number])
        # The next batch needs the memory more than this one does.
        del values
    yield from sums.finish(sums.size[0])


class _Sums:
    """Weighted sums of what windows say, in spans along x.

    Attributes
    ----------
    starts : list of list of int
        First voxel of each window, along each axis.
    spans : list of (int, int)
        Parts of the scan along x that are not finished yet: at first the whole. What windows have not reached takes
        no memory.
    """

    def __init__(self, size: Sequence[int], window: Sequence[int], overlap: float, weight: torch.Tensor) -> None:
        self.size, self.weight = tuple(size), weight
        self.starts = [window_starts(axis, width, overlap) for axis, width in zip(size, window, strict=True)]
        self.spans = [(0, self.size[0])]
        self._sums: dict[Span, torch.Tensor] = {}

    def add(self, corner: Corner, values: torch.Tensor) -> None:
        """Add what was predicted, (k, *window), for the window at `corner`."""
        for span in self.spans:
            there, own = _place(corner, self.weight.shape, self._region(span))
            if there[0].start < there[0].stop:
                if span not in self._sums:
                    shape = (len(values), span[1] - span[0], *self.size[1:])
                    self._sums[span] = torch.zeros(shape, device=self.weight.device)
                self._sums[span][(slice(None), *there)].addcmul_(values[(slice(None), *own)], self.weight[own])

    def finish(self, before: int) -> Iterator[Slab]:
        """The means of all spans that end at `before` or earlier, low x first; they are forgotten here."""
        thickness = len(self.weight)
        while self.spans and self.spans[0][1] <= before:
            low, high = span = self.spans.pop(0)
            values = self._sums.pop(span)
            for start in range(low, high, thickness):
                part = (start, min(start + thickness, high))
                values[:, part[0] - low : part[1] - low] /= self._weight_sum(part)
            yield Slab(low, values)

    def _weight_sum(self, span: Span) -> torch.Tensor:
        """Sum of the weights of all windows over a span, (thickness, y, z)."""
        total = self.weight
        # Windows stand in rows: they are put side by side along x, the rows of them along y, and these along z.
        for axis, region in enumerate(self._region(span)):
            part, shape = total, list(total.shape)
            shape[axis] = region[1] - region[0]
            total = torch.zeros(shape, device=part.device)
            for start in self.starts[axis]:
                there, own = _inside(start, part.shape[axis], region)
                width = there.stop - there.start
                if width > 0:
                    total.narrow(axis, there.start, width).add_(part.narrow(axis, own.start, width))
        return total

    def _region(self, span: Span) -> tuple[Span, Span, Span]:
        return span, (0, self.size[1]), (0, self.size[2])


def _inside(start: int, width: int, region: Span) -> tuple[slice, slice]:
    """The part of a window inside a region along an axis: counted from the region's start, and from the window's.

    Of a window that lies outside, the slices end where or before they start.
    """
    low, high = max(start, region[0]), min(start + width, region[1])
    return slice(low - region[0], high - region[0]), slice(low - start, high - start)


def _place(
    corner: Corner, window: Sequence[int], region: Sequence[Span]
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    """As `_inside`, for all axes."""
    axes = [_inside(*axis) for axis in zip(corner, window, region, strict=True)]
    return tuple(there for there, _ in axes), tuple(own for _, own in axes)


def _cut(volume: Volume, corners: list[Corner], window: Sequence[int], pad_value: float) -> torch.Tensor:
    """The windows at `corners`, padded, as a batch of float32 on the volume's device.

    They are copied into the order of memory that convolutions are fastest in: with channels last. Otherwise each layer
    would bring its maps into an order of its own and back, which on processors takes as long as many a convolution.
    """
    shape = (len(corners), volume.shape[0], *window)
    batch = torch.empty(shape, device=_home(volume), memory_format=torch.channels_last_3d).fill_(pad_value)
    source: Any = volume
    target: Any = batch
    if not isinstance(source, torch.Tensor) or (source.is_cpu and source.dtype != torch.bfloat16):
        # NumPy reads what torch cannot: memory maps, turned axes, swapped bytes. And for a copy as small as this,
        # torch's threads on a busy machine wait longer for each other than the copy takes.
        source, target = np.asarray(source), batch.numpy()
    for number, corner in enumerate(corners):
        there, own = _place(corner, window, [(0, width) for width in volume.shape[1:]])
        target[(number, slice(None), *own)] = source[(slice(None), *there)]
    return batch


def _home(volume: Volume) -> torch.device:
    return volume.device if isinstance(volume, torch.Tensor) else torch.device("cpu")


def _predict(predict: Predict, batch: torch.Tensor) -> torch.Tensor:
    with torch.no_grad():
        values = predict(batch)
    if values.ndim != batch.ndim or values.shape[0] != batch.shape[0] or values.shape[2:] != batch.shape[2:]:
        raise ConfigError(
            "sliding window",
            f"the network must return a map as large as its window, got {tuple(values.shape)} for {tuple(batch.shape)}",
            "Choose a window that the network's strides divide",
        )
    return values.to(torch.float32)


def _check(volume: Volume, window: Sequence[int], overlap: float, batch_size: int) -> None:
    where = "sliding window"
    if volume.ndim != 4 or 0 in volume.shape:
        raise ConfigError(where, f"the volume must be (channel, x, y, z), got shape {tuple(volume.shape)}")
    if len(window) != 3 or min(window) < 1:
        raise ConfigError(where, f"the window must be three positive sizes, got {tuple(window)}")
    if not 0 <= overlap < 1:
        raise ConfigError(where, f"the overlap must be at least 0 and less than 1, got {overlap}")
    if batch_size < 1:
        raise ConfigError(where, f"the batch size must be at least 1, got {batch_size}")
