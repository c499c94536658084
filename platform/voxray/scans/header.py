"""The grid and type of a scan's voxels, without reading the voxels where the format allows it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.scans.formats.base import FileHeader, check_voxels, header_of, scan_errors
from voxray.scans.formats.channels import channel_files, check_one_grid
from voxray.scans.formats.registry import find_format
from voxray.scans.geometry import axis_codes, canonical_grid, check_affine
from voxray.storage.paths import AnyPath, size_of


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
        Directions of the file's axes, such as ``LPS``; empty for pictures and stacks, which have no place in a patient.
    size_bytes : int
        On disk; 0 where the scan is a part of a file.
    notes : tuple of str
        What is doubtful about its files, though they can be read.
    """

    channels: int
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    affine: NDArray[np.float64]
    axes: str
    size_bytes: int
    notes: tuple[str, ...] = ()

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance of neighboring voxel centers along x, y, z in millimeters."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)


def read_header(path: AnyPath) -> ScanHeader:
    """Read the header of a scan: what `open_scan` would return, without the voxels where the format allows it.

    Parameters
    ----------
    path : path
        As for `open_scan`. A format without a header reader is decoded.

    Raises
    ------
    ScanError
        The scan cannot be opened, as far as its header and the size of its files show.
    """
    files = channel_files(path)
    parts = [_read_file(file) for file in files]
    check_one_grid([(part.shape, part.affine) for part in parts], [file.name for file in files], str(path))
    first, *others = parts
    channels = sum(part.channels for part in parts)
    dtype = np.result_type(*(part.dtype for part in parts)) if others else first.dtype
    size_bytes = sum(size_of(file) for part in parts for file in part.files)
    notes = tuple(dict.fromkeys(note for part in parts for note in part.notes))
    if not find_format(files[0]).oriented:
        return ScanHeader(channels, first.shape, dtype, first.affine, "", size_bytes, notes)
    shape, affine = canonical_grid(first.shape, first.affine)
    return ScanHeader(channels, shape, dtype, affine, axis_codes(first.affine), size_bytes, notes)


def _read_file(path: AnyPath) -> FileHeader:
    known = find_format(path)
    with scan_errors(path):
        header = known.read_header(path) if known.read_header else header_of(known.read(path), path)
    check_voxels(header.channels, header.shape, header.dtype, str(path))
    check_affine(header.affine, str(path))
    return header
