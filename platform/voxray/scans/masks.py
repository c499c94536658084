"""A scan and its mask: whether they fit together, and the class of each voxel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.geometry import corners_apart_mm, extent
from voxray.scans.header import ScanHeader
from voxray.volume import Volume

TOLERANCE_MM = 0.05
MOST_CLASSES = 256


def check_label(
    image: Volume, label: Volume, classes: Sequence[str], where: str, tolerance_mm: float = TOLERANCE_MM
) -> NDArray[np.uint8]:
    """Check that a mask fits its image voxel by voxel, and return its classes.

    Parameters
    ----------
    image, label : Volume
        In canonical axes. The mask may have any dtype, as long as its numbers are whole.
    classes : sequence of str
        Names of the values 0, 1, …; at most 256.
    where : str
        Name of the scan for the message.
    tolerance_mm : float
        Largest distance between the corners of the two: headers have single precision.

    Returns
    -------
    ndarray of uint8, (x, y, z)
        In the memory order of the mask.

    Raises
    ------
    ScanError
        Different shapes or positions, a voxel that is not finite, a value without a name.
    """
    if label.array.shape[0] != 1:
        problem = f"its mask: expected one channel, got {label.array.shape[0]}"
        raise ScanError(where, problem, "Give one value per voxel")
    check_same_grid(image, label, where, tolerance_mm)
    check_finite(image, where)
    return label_classes(label, classes, where)


def check_same_grid(
    image: Volume | ScanHeader, label: Volume | ScanHeader, where: str, tolerance_mm: float = TOLERANCE_MM
) -> None:
    """Raise ScanError if a mask has another shape or position than its image, given volumes or headers."""
    if image.shape != label.shape:
        problem = f"its mask has {extent(label.shape)} voxels, got an image of {extent(image.shape)}"
        raise ScanError(where, problem, "Give a mask of this image")
    corners, distances = corners_apart_mm(image.shape, image.affine, label.affine)
    # Written so that a NaN fails the check too.
    if (distances <= tolerance_mm).all():
        return
    worst = int(np.argmax(distances))
    corner = ", ".join(map(str, corners[worst].tolist()))
    problem = f"its mask has the image's shape but another position: voxel ({corner}) is "
    problem += f"{distances[worst]:.4g} mm apart, more than {tolerance_mm:g}"
    raise ScanError(where, problem, "Give both files the same affine")


def check_finite(image: Volume, where: str) -> None:
    """Raise ScanError where a voxel is NaN or infinite."""
    voxels = image.array
    if voxels.dtype.kind != "f" or voxels.size == 0:
        return
    # NaN and infinity show in one of the two, and neither needs memory.
    with np.errstate(invalid="ignore"):
        if np.isfinite(voxels.min()) and np.isfinite(voxels.max()):
            return
    bad = ~np.isfinite(voxels)
    channel, x, y, z = np.unravel_index(int(np.argmax(bad)), bad.shape)
    problem = f"voxel ({x}, {y}, {z}) of channel {channel} is not finite, got {voxels[channel, x, y, z]}"
    problem += f"; {np.count_nonzero(bad):,} voxels are such"
    raise ScanError(where, problem, "Fetch or convert it again")


def label_classes(label: Volume, classes: Sequence[str], where: str) -> NDArray[np.uint8]:
    """The mask's voxels as classes (x, y, z); ScanError for a value other than 0, 1, … up to their number."""
    if len(classes) > MOST_CLASSES:
        raise ScanError(where, f"a mask holds {MOST_CLASSES} classes or fewer, got {len(classes)}", "Join some")
    values = label.array[0]
    with np.errstate(invalid="ignore"):
        codes: NDArray[np.uint8] = values.astype(np.uint8, copy=False)
    if _in_range(values, codes, len(classes)):
        return codes
    odd = (codes != values) | (codes >= len(classes))
    named = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    index = np.unravel_index(int(np.argmax(odd)), odd.shape)
    at = ", ".join(map(str, index))
    problem = f"its mask has the value {values[index]} at voxel ({at}), which has no name (known: {named})"
    raise ScanError(where, f"{problem}; {np.count_nonzero(odd):,} voxels are such", "Name it or correct the mask")


def _in_range(values: NDArray[np.generic], codes: NDArray[np.uint8], count: int) -> bool:
    """Whether all values are whole numbers from 0 up to a count."""
    if values.size and values.dtype.kind in "iub":
        # Extremes need no memory, unlike comparing every voxel; unsigned numbers need no look for negative ones.
        return int(values.max()) < count and (values.dtype.kind != "i" or int(values.min()) >= 0)
    return bool(np.array_equal(codes, values) and (codes < count).all())
