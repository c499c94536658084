"""How a scan is divided so that the sums of a sliding window fit into memory: parts of y and z, each with all of x.

Sums need one window's thickness along x, but all of y and z, for each class. Where that is too much, windows at the
borders of parts are predicted for each of the parts: time instead of memory.
"""

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from voxray.inference.sliding_window import FLOAT_BYTES, Span, covering_starts

Part = tuple[Span, Span]
MOST_PARTS = 64  # of an axis


@dataclass(frozen=True, eq=False)
class Windows:
    """The windows of a network over a scan.

    Attributes
    ----------
    channels : int
        Of the network's output.
    size : (x, y, z)
        Of the scan on the grid of the network.
    window : (x, y, z)
    overlap : float
    needed : function of an axis and a span
        First voxel and end, on the grid of the network, of what a span of the scan's own grid depends on.
    """

    channels: int
    size: tuple[int, int, int]
    window: tuple[int, int, int]
    overlap: float
    needed: Callable[[int, Span], Span]


def choose_parts(shape: tuple[int, int, int], networks: Sequence[Windows], most_bytes: int) -> list[Part]:
    """The parts of y and z of a scan, one after another along z within those of y.

    Parameters
    ----------
    shape : (x, y, z)
        Of the scan.
    networks : sequence of Windows
        Whose sums are in memory together.
    most_bytes : int
        Of these sums.

    Returns
    -------
    list of ((start, end), (start, end))
        One part where that fits. Else the division with the fewest windows that fits, or the one with the least sums.
    """
    whole = [((0, shape[1]), (0, shape[2]))]
    if sums_bytes(whole, networks) <= most_bytes:
        return whole
    along_y, along_z = (
        [_covered(_divided(extent, count), axis, networks) for count in range(1, min(extent, MOST_PARTS) + 1)]
        for axis, extent in enumerate(shape[1:], 1)
    )

    def rank(pair: tuple[_Division, _Division]) -> tuple[int, int]:
        size = _sums_bytes(networks, *pair)
        return max(size - most_bytes, 0), sum(y * z for y, z in zip(pair[0].windows, pair[1].windows, strict=True))

    best = min(itertools.product(along_y, along_z), key=rank)
    return [(y, z) for y in best[0].parts for z in best[1].parts]


@dataclass(frozen=True)
class _Division:
    """The parts of an axis; for each network the widest one on its grid, and the windows of all parts."""

    parts: list[Span]
    widest: list[int]
    windows: list[int]


def sums_bytes(parts: Sequence[Part], networks: Sequence[Windows]) -> int:
    """The most bytes of the networks' sums in any of the parts."""
    pairs = ((_covered([part[0]], 1, networks), _covered([part[1]], 2, networks)) for part in parts)
    return max(_sums_bytes(networks, *pair) for pair in pairs)


def _sums_bytes(networks: Sequence[Windows], y: _Division, z: _Division) -> int:
    return sum(
        FLOAT_BYTES * network.channels * min(network.window[0], network.size[0]) * width * height
        for network, width, height in zip(networks, y.widest, z.widest, strict=True)
    )


def _divided(extent: int, count: int) -> list[Span]:
    return list(itertools.pairwise(number * extent // count for number in range(count + 1)))


def _covered(parts: list[Span], axis: int, networks: Sequence[Windows]) -> _Division:
    widest, windows = [], []
    for network in networks:
        spans = [network.needed(axis, part) for part in parts]
        size, window = network.size[axis], network.window[axis]
        widest.append(max(high - low for low, high in spans))
        windows.append(sum(len(covering_starts(size, window, network.overlap, span)) for span in spans))
    return _Division(parts, widest, windows)
