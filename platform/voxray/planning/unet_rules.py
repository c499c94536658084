"""The published rules by which nnU-Net fits a U-Net to a data set (Isensee et al. 2021), as its version 2 has them.

Pure functions of spacings, shapes and a question to the memory. All sizes have the axes of a scan, x, y(, z).
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ConfigError, DataError
from voxray.models.layers.base import Shape

Numbers = NDArray[np.float64]
Spacing = tuple[float, ...]

ANISOTROPIC = 3.0  # an axis is anisotropic if its spacing exceeds this many times the others, and its voxels are as few
LARGEST_PATCH = {2: 2048.0, 3: 256.0}  # along each axis, before spacing, shape and memory make it smaller
SMALLEST_MAP = 4  # voxels of a map along an axis
ALIKE = 2  # axes are alike if their spacings differ by less than this factor
FILTERS, MOST_FILTERS = 32, {2: 512, 3: 320}
SMALLEST_BATCH = 2  # the patch is as large as memory allows with this batch
MOST_OF_DATA = 0.05  # of a data set's voxels in a batch


class Topology(NamedTuple):
    """The shape of a U-Net.

    Attributes
    ----------
    patch : tuple of int
        Voxels of the input.
    strides : tuple of tuple of int
        Of each step down.
    kernels : tuple of tuple of int
        Of each level, one more than there are steps.
    """

    patch: Shape
    strides: tuple[Shape, ...]
    kernels: tuple[Shape, ...]

    @property
    def divisors(self) -> Shape:
        """What the patch is divisible by along each axis: the product of the strides."""
        return tuple(math.prod(steps) for steps in zip(*self.strides, strict=True)) or (1,) * len(self.patch)


def target_spacing(spacings_mm: Numbers, extents: Numbers) -> Spacing:
    """The spacing to which scans are resampled: the median along each axis.

    Along an axis with more than three times the spacing of the others, and fewer than a third of their voxels, it is
    the 10th percentile, because interpolation between distant slices invents what was never measured.

    Parameters
    ----------
    spacings_mm, extents : ndarray, (scans, 3)
        Distance and number of the voxels of each scan.
    """
    target, size = np.median(spacings_mm, axis=0), np.median(extents, axis=0)
    coarse = int(np.argmax(target))
    spacing, voxels = np.delete(target, coarse).max(), np.delete(size, coarse).min()
    if target[coarse] > ANISOTROPIC * spacing and ANISOTROPIC * size[coarse] < voxels:
        target[coarse] = max(np.percentile(spacings_mm[:, coarse], 10), spacing)
    return tuple(target.tolist())


def resampled_extents(extents: Numbers, spacings_mm: Numbers, target_mm: Spacing) -> Numbers:
    """Voxels of each scan, (scans, 3), at the target spacing."""
    resampled: Numbers = np.rint(extents * spacings_mm / np.asarray(target_mm))
    return resampled


def fit_topology(spacing_mm: Spacing, size: tuple[float, ...]) -> Topology:
    """Steps down and kernels for a patch of about this size, which is enlarged to be divisible by the strides.

    A step halves the axes that have 8 voxels or more left and whose spacing is within a factor of two of the finest of
    these. A single such axis is halved from 12 voxels on. A kernel has size 1 along an axis until its spacing is
    within a factor of two of the finest.
    """
    spacing, left = np.array(spacing_mm, np.float64), np.array(size, np.float64)
    kernel = np.ones(len(size), np.int64)
    strides: list[Shape] = []
    kernels: list[Shape] = []
    while True:
        large = left >= 2 * SMALLEST_MAP
        halved = large & (spacing < ALIKE * spacing[large].min(initial=np.inf))
        if not halved.any() or (halved.sum() == 1 and left[halved].item() < 3 * SMALLEST_MAP):
            break
        kernel[spacing < ALIKE * spacing.min()] = 3
        strides.append(tuple(np.where(halved, 2, 1).tolist()))
        kernels.append(tuple(kernel.tolist()))
        spacing[halved] *= 2
        left[halved] = np.ceil(left[halved] / 2)
    kernels.append((3,) * len(size))
    topology = Topology((1,) * len(size), tuple(strides), tuple(kernels))
    patch = (math.ceil(extent / divisor) * divisor for extent, divisor in zip(size, topology.divisors, strict=True))
    return topology._replace(patch=tuple(patch))


def fit_patch(spacing_mm: Spacing, median_extent: tuple[float, ...], fits: Callable[[Topology], bool]) -> Topology:
    """The largest patch, and its network, that memory allows.

    It starts with a cube of 256 voxels in millimeters (2D: a square of 2,048), no larger than the median scan. While
    it does not fit, the axis that covers most of the median scan is shortened.

    Parameters
    ----------
    spacing_mm : tuple of float
        The target spacing.
    median_extent : tuple of float
        Voxels of the median scan at that spacing.
    fits : callable
        Whether training with a topology fits the memory.

    Raises
    ------
    DataError
        Scans are too small for a U-Net.
    ConfigError
        The memory is.
    """
    aspect = 1 / np.array(spacing_mm)
    dimensions = len(spacing_mm)
    cube = np.rint(aspect * LARGEST_PATCH[dimensions] / np.prod(aspect) ** (1 / dimensions))
    size = np.minimum(cube, median_extent)
    topology = fit_topology(spacing_mm, tuple(size.tolist()))
    if not topology.strides:
        extent = "x".join(f"{voxels:g}" for voxels in median_extent)
        problem = f"a U-Net needs two axes of {2 * SMALLEST_MAP} voxels or more, the median scan has {extent}"
        raise DataError("plan", problem, "Give scans of more voxels")
    while not fits(topology):
        topology = _shrink(topology, spacing_mm, median_extent)
    return topology


def _shrink(topology: Topology, spacing_mm: Spacing, median_extent: tuple[float, ...]) -> Topology:
    """Shorten the axis that covers most of the median scan by one step of the network that the shorter patch has."""
    axis = int(np.argmax(np.array(topology.patch) / median_extent))
    shorter = list(topology.patch)
    shorter[axis] -= topology.divisors[axis]
    if shorter[axis] > 0:
        # Of the shorter patch's own divisors: 256 divides by 64, but 224, which divides by 32, is next to it.
        step = fit_topology(spacing_mm, tuple(shorter)).divisors[axis]
        size = [*topology.patch[:axis], topology.patch[axis] - step, *topology.patch[axis + 1 :]]
        smaller = fit_topology(spacing_mm, tuple(size))
        if smaller.strides and math.prod(smaller.patch) < math.prod(topology.patch):
            return smaller
    patch = "x".join(map(str, topology.patch))
    problem = f"training does not fit, not even with patches of {patch} voxels"
    raise ConfigError("--memory", problem, "Give more memory")


def largest_batch(patch: Shape, data_voxels: float, fits: Callable[[int], bool]) -> int:
    """Patches of a step: as many as memory allows, up to 5 % of the data set's voxels, and at least two.

    Parameters
    ----------
    patch : tuple of int
    data_voxels : float
        Of all scans, at the target spacing.
    fits : callable
        Whether training with a batch size fits the memory.
    """
    most = max(SMALLEST_BATCH, round(MOST_OF_DATA * data_voxels / math.prod(patch)))
    low = SMALLEST_BATCH
    while low < most:
        middle = (low + most + 1) // 2
        low, most = (middle, most) if fits(middle) else (low, middle - 1)
    return low


def filters_by_level(levels: int, dimensions: int, first: int = FILTERS) -> tuple[int, ...]:
    """Filters of each level: doubled from level to level, up to 320 in 3D and 512 in 2D."""
    return tuple(min(MOST_FILTERS[dimensions], first * 2**level) for level in range(levels))


def unet_json(topology: Topology, first: int = FILTERS, activation: str = "softmax") -> dict[str, Any]:
    """The architecture file of a U-Net: two convolutions a level, steps by stride, instance normalization."""
    dimensions = len(topology.patch)
    filters = filters_by_level(len(topology.kernels), dimensions, first)
    return {
        "type": "unet",
        "dimensions": dimensions,
        "down": [[each, each] for each in filters],
        "up": [[each, each] for each in filters[-2::-1]],
        "kernel_size": [list(kernel) for kernel in topology.kernels],
        "pool": [list(stride) for stride in topology.strides],
        "pooling": "stride",
        "upsampling": "transposed",
        "normalization": "instance",
        "activation": "leaky_relu",
        "deep_supervision": len(filters) > 2,  # with two levels there is no coarser output
        "output": {"activation": activation},
    }
