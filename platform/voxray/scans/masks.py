"""A scan and its mask: do they belong together, and which class has each voxel."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.geometry import corners_apart_mm
from voxray.scans.header import ScanHeader
from voxray.volume import Volume

TOLERANCE_MM = 0.05
MOST_CLASSES = 256


def check_label(
    image: Volume,
    label: Volume,
    classes: Sequence[str],
    where: str,
    tolerance_mm: float = TOLERANCE_MM,
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
        How far apart the corners of the two may lie: headers keep single precision.

    Returns
    -------
    ndarray of uint8, (x, y, z)
        In the memory order of the mask.

    Raises
    ------
    ScanError
        Other shapes, another place in the world, a voxel that is no finite number, a value that
        has no name.
    """
    if label.array.shape[0] != 1:
        raise ScanError(where, f"its mask wants one channel, got {label.array.shape[0]}", "Give one value per voxel")
    check_same_grid(image, label, where, tolerance_mm)
    check_finite(image, where)
    return label_classes(label, classes, where)


def check_same_grid(
    image: Volume | ScanHeader, label: Volume | ScanHeader, where: str, tolerance_mm: float = TOLERANCE_MM
) -> None:
    """Check that a mask has its image's shape and place, with their voxels or without.

    Raises
    ------
    ScanError
    """
    if image.shape != label.shape:
        problem = f"its mask has {_extent(label.shape)} voxels, got an image of {_extent(image.shape)}"
        raise ScanError(where, problem, "Give a mask of this image")
    corners, distances = corners_apart_mm(image.shape, image.affine, label.affine)
    # Written so that a NaN in an affine is found too.
    if (distances <= tolerance_mm).all():
        return
    worst = int(np.argmax(distances))
    corner = ", ".join(map(str, corners[worst].tolist()))
    problem = f"its mask has the image's shape but lies elsewhere: voxel ({corner}) is {distances[worst]:.4g} mm apart"
    raise ScanError(where, f"{problem}, more than {tolerance_mm:g}", "Give both files the same affine")


def check_finite(image: Volume, where: str) -> None:
    """Raise ScanError where a voxel is NaN or infinite."""
    voxels = image.array
    if voxels.dtype.kind != "f" or voxels.size == 0:
        return
    # Either shows in one of the two, and neither needs memory; their order does not matter.
    with np.errstate(invalid="ignore"):
        if np.isfinite(voxels.min()) and np.isfinite(voxels.max()):
            return
    bad = ~np.isfinite(voxels)
    channel, x, y, z = np.unravel_index(int(np.argmax(bad)), bad.shape)
    place = f"voxel ({x}, {y}, {z}) of channel {channel}"
    problem = f"{place} is no finite number, got {voxels[channel, x, y, z]}; {np.count_nonzero(bad):,} are such"
    raise ScanError(where, problem, "Fetch or convert it again")


def label_classes(label: Volume, classes: Sequence[str], where: str) -> NDArray[np.uint8]:
    """The mask's voxels as classes.

    Returns
    -------
    ndarray of uint8, (x, y, z)

    Raises
    ------
    ScanError
        A value that is not one of 0, 1, … up to the number of classes.
    """
    if len(classes) > MOST_CLASSES:
        raise ScanError(where, f"a mask holds {MOST_CLASSES} classes or fewer, got {len(classes)}", "Join some")
    values = label.array[0]
    if values.dtype.kind in "iub":
        # What has no sign is not looked through for negative numbers.
        low = int(values.min()) if values.size and values.dtype.kind == "i" else 0
        high = int(values.max()) if values.size else 0
        if low >= 0 and high < len(classes):
            codes: NDArray[np.uint8] = values.astype(np.uint8, copy=False)
            return codes
        odd = (values < 0) | (values >= len(classes))
    else:
        with np.errstate(invalid="ignore"):
            codes = values.astype(np.uint8)
        odd = (codes != values) | (codes >= len(classes))
        if not odd.any():
            return codes
    named = ", ".join(f"{number} {name}" for number, name in enumerate(classes))
    place = np.unravel_index(int(np.argmax(odd)), odd.shape)
    at = ", ".join(map(str, place))
    problem = f"its mask has the value {values[place]} at voxel ({at}), which has no name (known: {named})"
    raise ScanError(where, f"{problem}; {np.count_nonzero(odd):,} voxels are such", "Name it or correct the mask")


def _extent(shape: Sequence[int]) -> str:
    return "x".join(map(str, shape))
