"""MetaImage: reading a region of uncompressed voxels touches only its own bytes, on disk or in object storage."""

import mmap
from functools import partial
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import FileHeader, Format
from voxray.scans.formats.inflate import MOST_GROWTH
from voxray.scans.formats.metaimage_header import MetaImageHeader, parse_header
from voxray.scans.ranges import fetch_views
from voxray.storage.paths import AnyPath, read_bytes, size_of
from voxray.volume import Volume

LEAST_TEXT_BYTES = 2  # of a decimal number and the blank behind it


def _find_voxels(header: MetaImageHeader, path: AnyPath, where: str) -> int:
    """Byte of a voxel file at which the voxels begin; ScanError if it is missing or has another size."""
    try:
        size = size_of(path)
    except FileNotFoundError:
        raise ScanError(where, f"its voxel file {path.name} is missing", "Fetch it again") from None
    if header.compressed or not header.binary:
        least = header.voxels_per_file * LEAST_TEXT_BYTES - 1 if not header.binary else header.file_bytes // MOST_GROWTH
        if size < least:
            raise _other_size(header, path, size, where)
        return max(header.data_offset, 0)
    offset = header.data_offset if header.data_offset >= 0 else size - header.file_bytes
    if offset < 0 or size - offset != header.file_bytes:
        raise _other_size(header, path, max(size - offset, 0), where)
    return offset


def _other_size(header: MetaImageHeader, path: AnyPath, size: int, where: str) -> ScanError:
    problem = f"{path.name} holds {size:,} bytes of voxels, expected {header.file_bytes:,}"
    if size < header.file_bytes:
        return ScanError(where, problem, "The file is cut off; fetch it again")
    return ScanError(where, problem, "Correct DimSize, ElementType or HeaderSize in the header")


def _read_file(header: MetaImageHeader, path: AnyPath, where: str) -> bytes:
    """The voxels of a file as bytes; ScanError if it is damaged or has another length than in the header."""
    content = read_bytes(path)[_find_voxels(header, path, where) :]
    if not header.binary:
        return _parse_numbers(header, content, path, where)
    if not header.compressed:
        return content
    try:
        # A byte more than needed, so that a stream that is too long is found in bounded memory.
        stream = isal_zlib.decompressobj()
        plain: bytes = stream.decompress(content, header.file_bytes + 1)
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub does not say that it is an exception
        raise ScanError(where, f"{path.name} cannot be inflated: {error}", "Fetch it again") from None
    if not stream.eof and len(plain) <= header.file_bytes:
        raise ScanError(where, f"{path.name} cannot be inflated: it is cut off", "Fetch it again")
    if len(plain) != header.file_bytes:
        raise _other_size(header, path, len(plain), where)
    return plain


def _parse_numbers(header: MetaImageHeader, text: bytes, path: AnyPath, where: str) -> bytes:
    words = text.split()
    if len(words) != header.voxels_per_file or b"_" in text:
        problem = f"{path.name} holds {len(words):,} numbers, expected {header.voxels_per_file:,}"
        raise ScanError(where, problem, "Fetch it again")
    numbers = list(map(float if header.dtype.kind == "f" else int, words))
    return np.array(numbers, header.dtype.newbyteorder("=")).astype(header.dtype).tobytes()


def _read(path: AnyPath) -> Volume:
    header = parse_header(path)
    data, *others = header.data_paths
    if others or header.compressed or not header.binary:
        content = b"".join(_read_file(header, data, str(path)) for data in header.data_paths)
        return Volume(_voxels(header, content, 0), header.affine)
    offset = _find_voxels(header, data, str(path))
    if isinstance(data, Path):
        with data.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Otherwise the kernel reads ahead far beyond the lines of a patch.
        mapped.madvise(mmap.MADV_RANDOM)
        return Volume(_voxels(header, mapped, offset), header.affine)
    # Zeros where nothing has been fetched yet; such memory is not allocated before.
    memory = mmap.mmap(-1, header.file_bytes)
    return Volume(_voxels(header, memory, 0), header.affine, partial(fetch_views, data, offset, memory))


def _voxels(header: MetaImageHeader, memory: mmap.mmap | bytes, offset: int) -> NDArray[np.generic]:
    """A view (channel, i, j, k) of some memory."""
    i, j, k = header.shape
    flat = np.frombuffer(memory, header.dtype, i * j * k * header.channels, offset)
    return flat.reshape(k, j, i, header.channels).transpose(3, 2, 1, 0)


def _read_header(path: AnyPath) -> FileHeader:
    header = parse_header(path)
    for data in header.data_paths:
        _find_voxels(header, data, str(path))
    files = tuple(dict.fromkeys((path, *header.data_paths)))
    return FileHeader(header.channels, header.shape, header.dtype, header.affine, files)


def _files(path: AnyPath) -> tuple[AnyPath, ...]:
    return (path, *parse_header(path).data_paths)


METAIMAGE = Format("MetaImage", (".mhd", ".mha"), _read, _read_header, files=_files)
