"""What a scan's files say of its voxels before any of them is read."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK
from numpy.typing import NDArray
from PIL import Image

from voxray.scans.formats.channels import channel_files, check_one_grid
from voxray.scans.formats.dicom.series import is_dicom, read_series
from voxray.scans.formats.metaimage import find_voxels, read_metaimage_header
from voxray.scans.formats.nifti import is_scaled, read_nifti_header, split_channels
from voxray.scans.formats.npz import is_npz_row
from voxray.scans.geometry import axis_codes, canonical_grid, check_affine, lps_affine
from voxray.scans.read import PICTURES, as_scan_errors, copied, copied_series, open_file
from voxray.storage.paths import AnyPath, as_file, size_of, storage_errors

COLORED, DEEP = 3, {"I": "int32", "F": "float32", "I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2"}


@dataclass(frozen=True, eq=False)
class ScanHeader:
    """A scan without its voxels, in canonical axes.

    Attributes
    ----------
    channels : int
    shape : tuple of int
        Voxels along x, y, z, as `open_scan` gives them.
    dtype : numpy.dtype
        Of the voxels in memory.
    affine : ndarray, (4, 4)
        Voxel index to world millimeters, RAS+.
    axes : str
        Where the axes of the file point to, such as ``LPS``; empty for pictures and stacks, which have no place in a
        patient.
    size_bytes : int
        On disk; 0 where the scan is a part of a file.
    """

    channels: int
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    affine: NDArray[np.float64]
    axes: str
    size_bytes: int

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighboring voxel centers along x, y, z in millimeters."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


@dataclass(frozen=True, eq=False)
class _FileHeader:
    """What the file itself says, in its own axes, and the files that belong to it."""

    channels: int
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    affine: NDArray[np.float64]
    files: tuple[AnyPath, ...]


def read_header(path: AnyPath) -> ScanHeader:
    """Read what `open_scan` would tell of a scan, without its voxels where the format lets us.

    Parameters
    ----------
    path : Place
        As for `open_scan`. A format that has no header to itself is decoded.

    Raises
    ------
    ScanError
        The scan cannot be opened, as far as its header and the size of its files tell.
    """
    files = channel_files(path)
    said = _read_file(path) if len(files) == 1 else _join([_read_file(file) for file in files], str(path))
    size_bytes = sum(size_of(file) for file in said.files)
    if path.name.lower().endswith(PICTURES) or is_npz_row(path):
        return ScanHeader(said.channels, said.shape, said.dtype, said.affine, "", size_bytes)
    shape, affine = canonical_grid(said.shape, said.affine)
    return ScanHeader(said.channels, shape, said.dtype, affine, axis_codes(said.affine), size_bytes)


def _read_file(path: AnyPath) -> _FileHeader:
    name = path.name.lower()
    known = next((function for suffix, function in READERS.items() if name.endswith(suffix)), None)
    with storage_errors(path):
        reader = known or (_read_dicom if is_dicom(path) else _decode)
    with as_scan_errors(path):
        said = reader(path)
    check_affine(said.affine, str(path))
    return said


def _join(parts: list[_FileHeader], where: str) -> _FileHeader:
    files = tuple(file for part in parts for file in part.files)
    check_one_grid([(part.shape, part.affine) for part in parts], [part.files[0].name for part in parts], where)
    dtype = np.result_type(*(part.dtype for part in parts))
    return _FileHeader(sum(part.channels for part in parts), parts[0].shape, dtype, parts[0].affine, files)


def _decode(path: AnyPath) -> _FileHeader:
    volume = open_file(path)
    files = tuple(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else (path,)
    there = files if path.exists() else ()
    return _FileHeader(volume.array.shape[0], volume.shape, volume.array.dtype, volume.affine, there)


def _read_dicom(path: AnyPath) -> _FileHeader:
    with copied_series(path) as copy:
        series = read_series(copy)
    folder = path if path.is_dir() else path.parent
    files = tuple({folder / each.path.name for each in series.slices})
    return _FileHeader(1, series.shape, series.dtype, series.affine, files)


def _read_metaimage(path: AnyPath) -> _FileHeader:
    header = read_metaimage_header(path)
    find_voxels(header, str(path))
    files = tuple({path, header.data_path})
    return _FileHeader(header.channels, header.shape, header.dtype, header.affine, files)


def _read_nifti(path: AnyPath) -> _FileHeader:
    header = read_nifti_header(path)
    channels, shape = split_channels(header.get_data_shape(), str(path))
    dtype = np.dtype(np.float32) if is_scaled(header) else header.get_data_dtype()
    return _FileHeader(channels, shape, dtype, np.asarray(header.get_best_affine(), np.float64), (path,))


def _read_nrrd(path: AnyPath) -> _FileHeader:
    reader = SimpleITK.ImageFileReader()
    with copied(path) as file:
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        return _decode(path)  # which says what is wrong
    i, j, k = reader.GetSize()
    direction = np.array(reader.GetDirection()).reshape(3, 3)
    affine = lps_affine(np.array(reader.GetOrigin()), direction, np.array(reader.GetSpacing()))
    empty = SimpleITK.Image([1, 1, 1], reader.GetPixelID(), reader.GetNumberOfComponents())
    dtype = SimpleITK.GetArrayViewFromImage(empty).dtype
    return _FileHeader(reader.GetNumberOfComponents(), (i, j, k), dtype, affine, (path,))


def _read_picture(path: AnyPath) -> _FileHeader:
    with Image.open(as_file(path)) as picture:
        if picture.mode == "P":
            return _decode(path)  # its palette may hold greys or colors
        width, height = picture.size
        gray = picture.mode in ("1", "L", "LA", *DEEP)
        dtype = np.dtype(DEEP.get(picture.mode, "uint8"))
    return _FileHeader(1 if gray else COLORED, (width, height, 1), dtype, np.eye(4), (path,))


READERS: dict[str, Callable[[AnyPath], _FileHeader]] = {
    ".mhd": _read_metaimage,
    ".mha": _read_metaimage,
    ".nii": _read_nifti,
    ".nii.gz": _read_nifti,
    ".nrrd": _read_nrrd,
    ".jpg": _read_picture,
    ".jpeg": _read_picture,
    ".png": _read_picture,
}
