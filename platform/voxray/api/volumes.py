"""Scans as volumes."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from voxray.api import AnyText
from voxray.api.arguments import check_instance
from voxray.errors import ConfigError, ScanError
from voxray.storage.paths import to_path
from voxray.volume import Volume

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray


def read_scan(path: AnyText) -> Volume:
    """Read a scan of any format: MetaImage, NIfTI, NRRD, DICOM, a picture, or a row of an ``.npz`` file.

    Parameters
    ----------
    path : str or path
        A file, the folder of a DICOM series, or files that are the channels of one scan, ``scan_{t1,t2}.nii.gz``.

    Returns
    -------
    Volume
        (channel, x, y, z), RAS+, in the scan's own numbers.

    Raises
    ------
    ScanError
        The scan cannot be read.

    Examples
    --------
    >>> volume = voxray.read_scan(scan)
    >>> volume
    <Volume 1x40x36x14 int16, 0.7x0.7x2 mm>
    """
    from voxray.scans.read import open_scan

    file = to_path(path)
    return replace(open_scan(file), name=file.name)


def as_volume(volume: "Volume | ArrayLike", affine: "ArrayLike | None") -> Volume:
    """A volume, or an array and its affine as one; ScanError where they do not fit, ConfigError for a path."""
    if isinstance(volume, Volume):
        if affine is not None:
            raise ConfigError("affine", "a Volume has its own affine", "Leave it out, or give an array with an affine")
        return _checked(volume)
    array = _as_array(volume, "volume", "Give voxray.read_scan(path)")
    if affine is None:
        raise ScanError("volume", "an array was given without affine", "Give affine=, voxel index to world millimeters")
    if array.ndim not in (3, 4):
        problem = f"expected shape (channel, x, y, z) or (x, y, z), got {array.shape}"
        raise ScanError("volume", problem, "Give the array of one scan")
    matrix = _as_array(affine, "affine", "Give voxel index to world millimeters").astype(np.float64)
    return _checked(Volume(array if array.ndim == 4 else array[None], matrix))


def as_mask(mask: Volume | None) -> Volume | None:
    """A mask that is a volume; ConfigError for anything else, as an array would need an affine too."""
    if mask is None:
        return None
    check_instance("mask", mask, Volume, "Give voxray.read_scan(path), or voxray.Volume(array, affine)")
    return _checked(mask)


def _as_array(values: "ArrayLike", where: str, remedy: str) -> "NDArray[Any]":
    """Numbers as an array; ConfigError for anything else, such as a path."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError):  # lists of several lengths
        array = np.array(None)
    if array.dtype.kind not in "biufc":
        raise ConfigError(where, f"expected a Volume or an array, got {values!r:.80}", remedy)
    return array


def _checked(volume: Volume) -> Volume:
    from voxray.scans.geometry import check_affine

    array, matrix = np.asarray(volume.array), np.asarray(volume.affine)
    if np.ndim(array) != 4 or not np.size(array):
        problem = f"expected shape (channel, x, y, z) without empty axes, got {np.shape(array)}"
        raise ScanError("volume", problem, "Give the array of one scan")
    if array.dtype.kind not in "iuf":
        raise ScanError("volume", f"expected integers or floats, got {array.dtype}", "Convert the array first")
    if np.shape(matrix) != (4, 4):
        problem = f"expected shape (4, 4), got {np.shape(matrix)}"
        raise ScanError("affine", problem, "Give voxel index to world millimeters")
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise ScanError("affine", f"expected a last row of 0 0 0 1, got {matrix[3]}", "Give an affine matrix")
    check_affine(matrix, "affine")
    return volume
