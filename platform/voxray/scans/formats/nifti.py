"""NIfTI: a compressed file is inflated in one go, into the memory that the voxels stay in.

What a file is, its content says and not its name: a compressed file may be named ``.nii``.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import FileHeader, Format
from voxray.scans.formats.inflate import inflate, inflate_start, is_gzip
from voxray.scans.formats.nifti_header import HEADER_BYTES, NiftiHeader, parse_header
from voxray.storage.paths import AnyPath, read_bytes, read_start, size_of
from voxray.volume import Volume

START_BYTES = 2**16  # of a file, packed or not: more than a header takes
PAIR_SUFFIX = ".hdr"


def read_nifti_header(path: AnyPath) -> NiftiHeader:
    """The header of a NIfTI file, packed or not."""
    return _parse(path, read_start(path, START_BYTES))


def _parse(path: AnyPath, start: bytes) -> NiftiHeader:
    plain = inflate_start(start, HEADER_BYTES) if is_gzip(start) else start
    return parse_header(plain, str(path), is_pair=_is_pair(path))


def _is_pair(path: AnyPath) -> bool:
    return path.name.lower().endswith(PAIR_SUFFIX)


def _data_path(path: AnyPath) -> AnyPath:
    """The file that holds the voxels: for ``a.hdr`` it is ``a.img``."""
    if not _is_pair(path):
        return path
    return path.with_suffix(".img" if path.suffix.islower() else ".IMG")


def _voxel_start(path: AnyPath, data: AnyPath) -> bytes:
    try:
        return read_start(data, START_BYTES)
    except FileNotFoundError:
        raise ScanError(str(path), f"its voxel file {data.name} is missing", "Fetch it again") from None


def _read(path: AnyPath) -> Volume:
    data = _data_path(path)
    # From object storage in one request.
    content = read_start(path, START_BYTES) if isinstance(path, Path) or data != path else read_bytes(path)
    header = _parse(path, content)
    if data != path:
        start = _voxel_start(path, data)
        content = start if isinstance(path, Path) else read_bytes(data)
    if isinstance(data, Path) and not is_gzip(content):
        _check_length(path, header, size_of(data))
        count = header.size_bytes // header.dtype.itemsize
        return _volume(header, np.memmap(data, header.dtype, "r", header.offset, (count,)))
    if isinstance(data, Path):
        content = read_bytes(data)
    plain = inflate(content, header.offset + header.size_bytes, str(path)) if is_gzip(content) else content
    _check_length(path, header, len(plain))
    count = header.size_bytes // header.dtype.itemsize
    return _volume(header, np.frombuffer(plain, header.dtype, count, header.offset))


def _volume(header: NiftiHeader, flat: NDArray[np.generic]) -> Volume:
    """Voxels (channel, i, j, k), a view of those in the order of the file unless they are scaled."""
    voxels = flat.reshape(header.channels, *reversed(header.shape)).transpose(0, 3, 2, 1)
    if not header.is_scaled:
        return Volume(voxels, header.affine)
    # Whole numbers of up to 16 bits lose nothing in single precision.
    wide: Any = np.float32 if header.dtype.itemsize <= 2 or header.dtype.kind == "f" else np.float64
    scaled: NDArray[Any] = voxels.astype(wide) * wide(header.slope) + wide(header.intercept)
    return Volume(scaled.astype(np.float32, copy=False), header.affine)


def _check_length(path: AnyPath, header: NiftiHeader, size: int) -> None:
    """Raise ScanError if a file of so many bytes, inflated, is shorter than its header requires."""
    held = size - header.offset
    if held < header.size_bytes:
        problem = f"holds {max(held, 0):,} bytes of voxels, expected {header.size_bytes:,}"
        raise ScanError(str(path), problem, "The file is cut off; fetch it again")


def _read_header(path: AnyPath) -> FileHeader:
    start, data = read_start(path, START_BYTES), _data_path(path)
    header = _parse(path, start)
    packed = is_gzip(start if data == path else _voxel_start(path, data))
    if not packed:
        _check_length(path, header, size_of(data))
    elif data == path and len(start) < START_BYTES:  # all of it
        _check_length(path, header, len(inflate(start, header.offset + header.size_bytes, str(path))))
    notes = header.notes
    if packed != data.name.lower().endswith(".gz"):
        notes = (*notes, f"is {'compressed' if packed else 'not compressed'}, unlike its name says")
    dtype = np.dtype(np.float32) if header.is_scaled else header.dtype
    return FileHeader(header.channels, header.shape, dtype, header.affine, tuple({path, data}), notes)


def _files(path: AnyPath) -> tuple[AnyPath, ...]:
    return (path, _data_path(path))


NIFTI = Format("NIfTI", (".nii", ".nii.gz", PAIR_SUFFIX), _read, _read_header, files=_files)
