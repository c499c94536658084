"""NIfTI: a compressed file is inflated in one go, into the memory that the voxels stay in.

A stream that is inflated whole, into memory of known size, takes half the time of one that is read piece by piece.
Format: https://nifti.nimh.nih.gov/nifti-1; nibabel interprets the header.
"""

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import deflate
import nibabel
import numpy as np
from isal import igzip
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import FileHeader, Format
from voxray.storage.paths import AnyPath, read_bytes, read_start, size_of
from voxray.volume import Volume

NIFTI2_HEADER_BYTES = 540
START_BYTES = 2**16  # of a file, packed or not: more than a header takes


def read_nifti(path: AnyPath) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Read a ``.nii`` or ``.nii.gz`` file whole, with one request from object storage.

    Returns
    -------
    ndarray, (i, j, k, …)
        In the file's axes and numbers; float32 where the file has a scale factor.
    ndarray, (4, 4)
        Index to world millimeters, RAS.

    Raises
    ------
    ScanError
        There are fewer voxels than in the header.
    OSError, EOFError, HeaderDataError
        No gzip, cut off or damaged; no NIfTI.
    """
    content, packed = read_bytes(path), _is_packed(path)
    header = _parse_header(content, packed)
    shape, dtype, offset = header.get_data_shape(), header.get_data_dtype(), header.get_data_offset()
    plain = _inflate(content, offset + math.prod(shape) * dtype.itemsize) if packed else content
    _check_length(path, header, len(plain))
    voxels: NDArray[Any] = np.ndarray(shape, dtype, plain, offset, order="F")
    if _is_scaled(header):
        slope, inter = header.get_slope_inter()
        voxels = voxels.astype(np.float32) * np.float32(slope) + np.float32(inter)
    return voxels, np.asarray(header.get_best_affine(), np.float64)


def _is_scaled(header: Any) -> bool:
    """Whether the file has a scale factor or offset."""
    slope, inter = header.get_slope_inter()
    return slope is not None and (slope, inter) != (1, 0)


def _split_channels(shape: Sequence[int], where: str) -> tuple[int, tuple[int, int, int]]:
    """Channels and (i, j, k) of an array in the order of its file: a fourth dimension holds channels."""
    sizes = list(shape)
    while len(sizes) > 3 and sizes[-1] == 1:
        sizes.pop()
    if len(sizes) not in (2, 3, 4):
        problem = f"expected 3 dimensions, or 4 with channels last, got shape {tuple(shape)}"
        raise ScanError(where, problem, "Write one file for each time or volume")
    i, j, k, channels = [*sizes, 1, 1][:4]
    return channels, (i, j, k)


def _is_packed(path: AnyPath) -> bool:
    return path.name.lower().endswith(".gz")


def _parse_header(content: bytes, packed: bool) -> Any:
    with igzip.open(BytesIO(content)) if packed else BytesIO(content) as file:
        first = file.read(4)
        file.seek(0)
        long = NIFTI2_HEADER_BYTES in (int.from_bytes(first, "little"), int.from_bytes(first, "big"))
        return (nibabel.Nifti2Header if long else nibabel.Nifti1Header).from_fileobj(file)


def _inflate(packed: bytes, size: int) -> bytearray | bytes:
    """The bytes of the stream, `size` of them if it is complete; checks the checksum."""
    try:
        plain = deflate.gzip_decompress(packed, size)
    except deflate.DeflateError:
        plain = bytearray()
    # libdeflate stops after the first member of a file, and does not name what is wrong with a damaged one.
    return plain if len(plain) >= size else igzip.decompress(packed)


def _check_length(path: AnyPath, header: Any, size: int) -> None:
    """Raise ScanError if a file of so many bytes, inflated, is shorter than its header requires."""
    expected = math.prod(header.get_data_shape()) * header.get_data_dtype().itemsize
    held = size - header.get_data_offset()
    if held < expected:
        problem = f"holds {max(held, 0):,} bytes of voxels, expected {expected:,}"
        raise ScanError(str(path), problem, "The file is cut off; fetch it again")


def _read(path: AnyPath) -> Volume:
    plain = isinstance(path, Path) and not _is_packed(path)
    voxels, affine = _map_nifti(path) if plain else read_nifti(path)
    channels, shape = _split_channels(voxels.shape, str(path))
    return Volume(voxels.reshape(*shape, channels).transpose(3, 0, 1, 2), affine)


def _map_nifti(path: AnyPath) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """The same as `read_nifti` for an uncompressed file on disk, memory-mapped."""
    image: Any = nibabel.load(str(path))
    proxy = image.dataobj
    # Only a scan with a scale factor becomes float; every other keeps the numbers of its file.
    voxels = proxy.get_unscaled() if (proxy.slope, proxy.inter) == (1, 0) else np.asarray(proxy, np.float32)
    return voxels, np.asarray(image.affine, np.float64)


def _read_header(path: AnyPath) -> FileHeader:
    packed = _is_packed(path)
    header = _parse_header(read_start(path, START_BYTES), packed)
    if not packed:
        _check_length(path, header, size_of(path))
    channels, shape = _split_channels(header.get_data_shape(), str(path))
    dtype = np.dtype(np.float32) if _is_scaled(header) else header.get_data_dtype()
    return FileHeader(channels, shape, dtype, np.asarray(header.get_best_affine(), np.float64), (path,))


NIFTI = Format("NIfTI", (".nii", ".nii.gz"), _read, _read_header)
