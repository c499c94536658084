"""Crops of stored patches: random ones for training, a grid of them for validation.

Where a crop begins is a pure function of numbers and of the patch's mask. Crops lie inside the scan: padding is only in
a crop that is longer than its scan, which it then holds as a whole.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Size = tuple[int, int, int]
Mask = NDArray[Any]

DRAW, PHASE = 1, 2  # last numbers of the seeds, which keep these draws apart from those of the order of an epoch


class Place(NamedTuple):
    """Which crop of which patch is meant.

    Attributes
    ----------
    epoch : int
    row : int
        Of the split's index.
    number : int
        Of the crop among those of its patch.
    inside : ndarray of int, (2, 3)
        First and end voxel of the part of the patch that lies inside its scan.
    """

    epoch: int
    row: int
    number: int
    inside: Ints


class Crops(Protocol):
    """A way to crop patches."""

    @property
    def size(self) -> Size:
        """Voxels of a crop, x, y, z."""

    def counts(self, inside: Ints) -> Ints:
        """Crops of each patch in an epoch, (n,), from the parts inside their scans, (n, 2, 3)."""

    def start(self, place: Place, tile: Size, mask: Mask | None) -> Ints:
        """First voxel of a crop, (3,), in a patch of `tile` voxels with its mask (x, y, z), where it has one."""


@dataclass(frozen=True)
class Cropping:
    """The crops of one epoch, as a reader of patches needs them.

    Attributes
    ----------
    size : (x, y, z)
    start : callable
        (entry, mask) → first voxel of the crop, (3,).
    """

    size: Size
    start: Callable[[int, Mask | None], Ints]


@dataclass(frozen=True)
class RandomCrops:
    """Crops for training: other ones in each epoch.

    A share of them is centered, as far as the scan's border allows, on a voxel of a foreground class: one of the
    classes in the patch, and then one of its voxels, each with the same probability. That share is kept exactly: of all
    crops of an epoch in the order of the index, each stretch has as many as its length times the share, rounded up or
    down. Patches without foreground have crops anywhere, as all others.

    Attributes
    ----------
    size : (x, y, z)
    per_patch : int
    foreground_share : float
    classes : int
        Background included.
    seed : int
    """

    size: Size
    per_patch: int
    foreground_share: float
    classes: int
    seed: int

    def counts(self, inside: Ints) -> Ints:
        """`per_patch` of each."""
        return np.full(len(inside), self.per_patch)

    def start(self, place: Place, tile: Size, mask: Mask | None) -> Ints:
        """Drawn by (seed, epoch, row, number) alone."""
        first, last = _limits(place.inside, self.size, tile)
        rng = np.random.default_rng([self.seed, place.epoch, place.row, place.number, DRAW])
        if mask is not None and self.is_on_foreground(place):
            voxel = draw_foreground(mask, self.classes, rng)
            if voxel is not None:
                centered: Ints = np.clip(voxel - np.array(self.size) // 2, first, last)
                return centered
        return rng.integers(first, last, endpoint=True)

    def is_on_foreground(self, place: Place) -> bool:
        """Whether a crop is one of those on foreground, where its patch has any."""
        phase = np.random.default_rng([self.seed, place.epoch, PHASE]).random()
        order = place.row * self.per_patch + place.number
        return bool((phase + order * self.foreground_share) % 1 < self.foreground_share)


@dataclass(frozen=True)
class GridCrops:
    """Crops for validation: the fewest in a regular grid that cover the part of a patch inside its scan.

    The last crop along an axis is moved back, so that it overlaps the one before. A scan shorter than a crop is in its
    middle, as in the windows of a whole scan.

    Attributes
    ----------
    size : (x, y, z)
    """

    size: Size

    def counts(self, inside: Ints) -> Ints:
        """The product of those along each axis."""
        counts: Ints = np.prod(self._along_axes(inside), axis=1)
        return counts

    def start(self, place: Place, tile: Size, _mask: Mask | None) -> Ints:
        """The same in every epoch; z runs fastest."""
        along = self._along_axes(place.inside[None])[0]
        first, last = _limits(place.inside, self.size, tile)
        number = np.array(np.unravel_index(place.number, tuple(along)))
        spare = np.array(self.size) - (place.inside[1] - place.inside[0])
        middle = np.clip(place.inside[0] - spare // 2, 0, np.array(tile) - self.size)
        starts: Ints = np.where(spare > 0, middle, np.minimum(first + number * self.size, last))
        return starts

    def _along_axes(self, inside: Ints) -> Ints:
        extents = np.maximum(inside[:, 1] - inside[:, 0], 1)
        counts: Ints = -(-extents // np.array(self.size))
        return counts


def crop(array: NDArray[Any], start: Ints, size: Size) -> NDArray[Any]:
    """The part of a patch (…, x, y, z), as a view."""
    x, y, z = (slice(low, low + length) for low, length in zip(start.tolist(), size, strict=True))
    return array[..., x, y, z]


def draw_foreground(mask: Mask, classes: int, rng: np.random.Generator) -> Ints | None:
    """A voxel, (3,), of one of the foreground classes in a mask (x, y, z); None where there is none.

    Values from `classes` on are no classes.
    """
    flat = mask.reshape(-1)
    # Of the foreground alone, which is a small part of a mask.
    voxels = np.flatnonzero(flat != 0)
    labels = flat[voxels]
    counts = np.bincount(labels, minlength=classes)[:classes]
    present = np.flatnonzero(counts)
    if not len(present):
        return None
    label = present[rng.integers(len(present))]
    voxel = voxels[np.flatnonzero(labels == label)[rng.integers(counts[label])]]
    return np.array(np.unravel_index(voxel, mask.shape))


def _limits(inside: Ints, size: Size, tile: Size) -> tuple[Ints, Ints]:
    """First and last voxel at which a crop may begin: inside the scan, or around it where the scan is shorter."""
    low, high = inside[0], inside[1] - size
    most = np.array(tile) - size
    return np.clip(np.minimum(low, high), 0, most), np.clip(np.maximum(low, high), 0, most)
