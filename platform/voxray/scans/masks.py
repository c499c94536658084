"""A scan and its mask: whether they fit together, and the class of each voxel."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.config.labels import IGNORED, MOST_CLASSES, MaskLabels
from voxray.errors import ScanError
from voxray.scans.formats.channels import channel_files, check_one_grid
from voxray.scans.geometry import corners_apart_mm, extent
from voxray.scans.header import ScanHeader
from voxray.scans.read import open_scan
from voxray.storage.paths import AnyPath, listed_files, to_path
from voxray.volume import Volume

TOLERANCE_MM = 0.05


def open_mask(path: AnyPath) -> Volume:
    """Open a mask as `voxray.scans.read.open_scan` opens a scan.

    A path of several files, ``{liver.nii,tumor.nii}``, names one for each of the classes 1, 2, …, with any value but 0
    where the class is. Later classes are written over earlier ones. A class without a file, ``{liver.nii,}``, is
    nowhere.

    Raises
    ------
    ScanError
        A file cannot be read, has several channels or values that are not whole, or the files have different grids.
    """
    files = listed_files(str(path))
    if len(files) == 1:
        return open_scan(path)
    numbers = None
    volumes = {number: open_scan(to_path(file)) for number, file in enumerate(files, 1) if file is not None}
    names = [to_path(file).name for file in files if file is not None]
    check_one_grid([(volume.shape, volume.affine) for volume in volumes.values()], names, str(path))
    for name, (number, volume) in zip(names, volumes.items(), strict=True):
        check_whole(volume, name)
        if numbers is None:
            numbers = np.zeros_like(volume.array, np.uint8)
        numbers[volume.array != 0] = number
    first = next(iter(volumes.values()))
    assert numbers is not None
    return Volume(numbers, first.affine)


def check_whole(mask: Volume, where: str) -> None:
    """Raise ScanError where a mask has several channels, or values that are no whole numbers."""
    if len(mask.array) != 1:
        raise ScanError(where, f"expected a mask of one channel, got {len(mask.array)}", "Give one value per voxel")
    voxels = mask.array
    if voxels.dtype.kind == "f":
        odd = voxels != np.rint(voxels)  # also where it is NaN
        if odd.any():
            raise ScanError(where, f"expected whole numbers as labels, got {voxels[odd][0]:.6g}", "Correct the mask")


def check_one_channel(header: ScanHeader, path: AnyPath, where: str) -> None:
    """Raise ScanError where a mask, given its header and path, has several channels."""
    if header.channels != len(channel_files(path)):
        raise ScanError(where, f"expected a mask of one channel, got {header.channels}", "Give one value per voxel")


def check_label(
    image: Volume, label: Volume, labels: MaskLabels, where: str, tolerance_mm: float = TOLERANCE_MM
) -> NDArray[np.uint8]:
    """Check that a mask fits its image voxel by voxel, and return the numbers of its values.

    Parameters
    ----------
    image, label : Volume
        In canonical axes. The mask may have any dtype, as long as its numbers are whole.
    labels : MaskLabels
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
    return label_numbers(label, labels, where)


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


def label_numbers(label: Volume, labels: MaskLabels, where: str) -> NDArray[np.uint8]:
    """The numbers (x, y, z) of a mask's values, `IGNORED` where it is not labeled; ScanError for an unknown value."""
    known = labels.values
    if len(known) > MOST_CLASSES:
        raise ScanError(where, f"a mask holds {MOST_CLASSES} classes or fewer, got {len(known)}", "Join some")
    array = label.array[0]
    if not labels.given_values and labels.ignored is None:
        with np.errstate(invalid="ignore"):
            numbers: NDArray[np.uint8] = array.astype(np.uint8, copy=False)
        if _in_range(array, numbers, len(known)):
            return numbers
        odd: NDArray[np.bool_] = (numbers != array) | (numbers >= len(known))
    else:
        numbers, odd = _look_up(array, labels)
        if not odd.any():
            return numbers
    named = ", ".join(f"{value} {name}" for value, name in zip(known, labels.names, strict=True))
    named += "" if labels.ignored is None else f", {labels.ignored} not labeled"
    index = np.unravel_index(int(np.argmax(odd)), odd.shape)
    at = ", ".join(map(str, index))
    problem = f"its mask has the value {array[index]} at voxel ({at}), which has no name (known: {named})"
    raise ScanError(where, f"{problem}; {np.count_nonzero(odd):,} voxels are such", "Name it or correct the mask")


def _look_up(array: NDArray[np.generic], labels: MaskLabels) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """The number of each voxel's value, and whether it has none."""
    known = labels.values if labels.ignored is None else (*labels.values, labels.ignored)
    numbers = np.arange(len(known), dtype=np.uint8)
    if labels.ignored is not None:
        numbers[-1] = IGNORED
    table, unknown = np.zeros(max(known) + 2, np.uint8), np.ones(max(known) + 2, bool)  # the last entry is of others
    table[list(known)], unknown[list(known)] = numbers, False
    found, odd = np.empty_like(array, np.uint8), np.empty_like(array, bool)
    # Slice by slice, because an index takes eight bytes a voxel.
    for z in range(array.shape[2]):
        with np.errstate(invalid="ignore"):
            index = array[:, :, z].astype(np.int64)
        lost = (index != array[:, :, z]) | (index < 0) | (index >= len(table))
        index[lost] = len(table) - 1
        found[:, :, z], odd[:, :, z] = table[index], unknown[index]
    return found, odd


def label_values(numbers: NDArray[np.uint8], labels: MaskLabels) -> NDArray[Any]:
    """Numbers as the values that masks have for them, in the smallest type that holds them."""
    if not labels.given_values:
        return numbers
    table = np.array(labels.values, np.uint8 if max(labels.values) < 2**8 else np.uint16)
    values: NDArray[Any] = table[numbers]
    return values


def shown_numbers(label: Volume, labels: MaskLabels, where: str) -> NDArray[np.uint8]:
    """What `label_numbers` gives, with 0 where a mask is not labeled, for pictures."""
    numbers = label_numbers(label, labels, where)
    return numbers if labels.ignored is None else np.where(numbers == IGNORED, np.uint8(0), numbers)


def is_labeled(numbers: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Where a mask has a class, neither background nor ignored."""
    labeled: NDArray[np.bool_] = (numbers != 0) & (numbers != IGNORED)
    return labeled


def count_classes(numbers: NDArray[np.uint8], labels: MaskLabels) -> list[int]:
    """The labeled voxels of each class, that of the background first."""
    counts = np.bincount(numbers.ravel(order="K"), minlength=IGNORED + 1)
    members = labels.regions or [(number,) for number in range(1, len(labels.classes))]
    return [int(counts[0]), *(int(counts[list(region)].sum()) for region in members)]


def _in_range(values: NDArray[np.generic], codes: NDArray[np.uint8], count: int) -> bool:
    """Whether all values are whole numbers from 0 up to a count."""
    if values.size and values.dtype.kind in "iub":
        # Extremes need no memory, unlike comparing every voxel; unsigned numbers need no look for negative ones.
        return int(values.max()) < count and (values.dtype.kind != "i" or int(values.min()) >= 0)
    return bool(np.array_equal(codes, values) and (codes < count).all())
