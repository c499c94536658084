"""A scan as Voxray and as other programs read it, in the axes of its file."""

from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK
from numpy.typing import NDArray

from voxray.scans.header import read_header
from voxray.scans.read import open_file, open_scan

Read = tuple[NDArray[Any], NDArray[np.float64]]  # (channel, i, j, k), and its affine to RAS


def by_voxray(path: Path) -> Read:
    """Voxels and affine; checks that the header, read alone, says the same."""
    volume, header, scan = open_file(path), read_header(path), open_scan(path)
    assert (header.channels, header.shape) == (len(scan.array), scan.shape)
    assert header.dtype.newbyteorder("=") == scan.array.dtype.newbyteorder("=")
    np.testing.assert_allclose(header.affine, scan.affine)
    return np.asarray(volume.array), volume.affine


def by_itk(path: Path) -> Read:
    """Voxels and affine by SimpleITK."""
    image = SimpleITK.ReadImage(str(path))
    array = SimpleITK.GetArrayFromImage(image)
    channels = array if image.GetNumberOfComponentsPerPixel() > 1 else array[..., None]
    return channels.transpose(3, 2, 1, 0), itk_affine(image)


def itk_affine(image: Any) -> NDArray[np.float64]:
    """Index to RAS."""
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    return np.diag([-1.0, -1, 1, 1]) @ affine


def assert_same(read: Read, expected: Read) -> None:
    """Equal voxels, and affines that are equal as far as single precision goes."""
    np.testing.assert_array_equal(read[0], expected[0])
    np.testing.assert_allclose(read[1], expected[1], rtol=1e-5, atol=1e-5 * np.abs(expected[1][:3]).max())
