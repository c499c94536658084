"""MetaImage: reading a region of uncompressed voxels touches only its own bytes, on disk or in object storage.

Source: the MetaIO documentation of ``ObjectType = Image`` files.
"""

import mmap
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import FileHeader, Format
from voxray.scans.geometry import lps_affine
from voxray.scans.ranges import fetch_views
from voxray.storage.paths import AnyPath, read_bytes, read_start, size_of
from voxray.volume import Volume

DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
HEADER_LIMIT_BYTES = 65536
CORRECT = "Correct the header, or write the scan again"


@dataclass(frozen=True, eq=False)
class MetaImageHeader:
    """The text header.

    Attributes
    ----------
    shape : tuple of int
        (i, j, k), i runs fastest in the file.
    dtype : numpy.dtype
        With the file's byte order.
    affine : ndarray, (4, 4)
        Index (i, j, k) to world RAS.
    data_path : path
        File of the voxels.
    data_offset : int
        Where they begin; -1: they end with the file.
    compressed : bool
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    channels: int
    affine: NDArray[np.float64]
    data_path: AnyPath
    data_offset: int
    compressed: bool

    @property
    def size_bytes(self) -> int:
        """Bytes of the uncompressed voxels."""
        i, j, k = self.shape
        return i * j * k * self.channels * self.dtype.itemsize


def _parse_header(path: AnyPath) -> MetaImageHeader:
    """Parse a ``.mhd`` or ``.mha`` header; ScanError if a key is missing or has an invalid value."""
    fields, offset = _read_fields(path)
    dimensions = _numbers(path, fields, "DimSize")
    if len(dimensions) != 3 or min(dimensions) < 1:
        raise ScanError(str(path), f"DimSize: expected three sizes, got '{fields['DimSize']}'", CORRECT)
    element = _text(path, fields, "ElementType")
    if element not in DTYPES:
        raise ScanError(str(path), f"ElementType '{element}' is not supported", f"Known: {', '.join(DTYPES)}")
    big_endian = _flag(fields, "BinaryDataByteOrderMSB") or _flag(fields, "ElementByteOrderMSB")
    data = _text(path, fields, "ElementDataFile")
    if data == "LIST" or "%" in data:
        raise ScanError(str(path), f"ElementDataFile '{data}' spreads over several files", "Write it as one file")
    return MetaImageHeader(
        shape=(int(dimensions[0]), int(dimensions[1]), int(dimensions[2])),
        dtype=np.dtype((">" if big_endian else "<") + DTYPES[element]),
        channels=int(fields.get("ElementNumberOfChannels", "1")),
        affine=_affine(path, fields),
        data_path=path if data == "LOCAL" else path.parent / data,
        data_offset=offset if data == "LOCAL" else int(fields.get("HeaderSize", "0")),
        compressed=_flag(fields, "CompressedData"),
    )


def _find_voxels(header: MetaImageHeader, where: str) -> int:
    """Byte of the voxel file at which the voxels begin; ScanError if it is missing, or shorter than in the header."""
    try:
        size = size_of(header.data_path)
    except FileNotFoundError:
        raise ScanError(where, f"its voxel file {header.data_path.name} is missing", "Fetch it again") from None
    if header.compressed:
        return max(header.data_offset, 0)
    offset = header.data_offset if header.data_offset >= 0 else size - header.size_bytes
    if offset < 0 or size - offset < header.size_bytes:
        problem = f"{header.data_path.name} holds {max(size - offset, 0):,} bytes of voxels, expected "
        raise ScanError(where, f"{problem}{header.size_bytes:,}", "The file is cut off; fetch it again")
    return offset


def _inflate(header: MetaImageHeader, offset: int, where: str) -> bytes:
    """The voxels of a compressed file; ScanError if the stream is damaged or has another length than in the header."""
    try:
        plain: bytes = isal_zlib.decompress(read_bytes(header.data_path)[offset:])
    except isal_zlib.error as error:  # type: ignore[misc]  # its stub does not say that it is an exception
        raise ScanError(where, f"{header.data_path.name} cannot be inflated: {error}", "Fetch it again") from None
    if len(plain) != header.size_bytes:
        problem = f"{header.data_path.name} holds {len(plain):,} bytes of voxels, expected "
        raise ScanError(where, f"{problem}{header.size_bytes:,}", "Fetch it again")
    return plain


def _read_fields(path: AnyPath) -> tuple[dict[str, str], int]:
    head = read_start(path, HEADER_LIMIT_BYTES)
    fields: dict[str, str] = {}
    position = 0
    for line in head.splitlines(keepends=True):
        position += len(line)
        key, separator, value = line.decode("ascii", errors="replace").partition("=")
        if not separator:
            break
        fields[key.strip()] = value.strip()
        # By the format, this key is the last one of the header.
        if key.strip() == "ElementDataFile":
            return fields, position
    raise ScanError(str(path), "not a MetaImage header: no line 'ElementDataFile = …'", "Fetch the file again")


def _affine(path: AnyPath, fields: dict[str, str]) -> NDArray[np.float64]:
    spacing = _numbers(path, fields, "ElementSpacing", "ElementSize", default="1 1 1")
    origin = _numbers(path, fields, "Offset", "Origin", "Position", default="0 0 0")
    turn = _numbers(path, fields, "TransformMatrix", "Orientation", "Rotation", default="1 0 0 0 1 0 0 0 1")
    if (len(spacing), len(origin), len(turn)) != (3, 3, 9):
        problem = "expected 3, 3 and 9 numbers for spacing, offset and direction, got "
        raise ScanError(str(path), f"{problem}{len(spacing)}, {len(origin)} and {len(turn)}", CORRECT)
    if min(spacing) <= 0:
        raise ScanError(str(path), f"spacing must be above zero, got {spacing}", CORRECT)
    # The file lists one direction vector after the other; they are the columns of the matrix.
    direction = np.array(turn).reshape(3, 3).T
    if abs(np.linalg.det(direction)) < 1e-3:
        raise ScanError(str(path), f"direction matrix is singular, got {turn}", CORRECT)
    return lps_affine(np.array(origin), direction, np.array(spacing))


def _text(path: AnyPath, fields: dict[str, str], *keys: str, default: str | None = None) -> str:
    """The value of the first of these keys that the header has."""
    text = next((fields[key] for key in keys if key in fields), default)
    if text is None:
        raise ScanError(str(path), f"the header has no '{keys[0]}'", CORRECT)
    return text


def _numbers(path: AnyPath, fields: dict[str, str], *keys: str, default: str | None = None) -> list[float]:
    text = _text(path, fields, *keys, default=default)
    try:
        numbers = list(map(float, text.split()))
    except ValueError:
        raise ScanError(str(path), f"'{keys[0]}': expected numbers, got '{text}'", CORRECT) from None
    if not np.isfinite(numbers).all():
        raise ScanError(str(path), f"'{keys[0]}': expected finite numbers, got '{text}'", CORRECT)
    return numbers


def _flag(fields: dict[str, str], key: str) -> bool:
    return fields.get(key, "False").lower() == "true"


def _read(path: AnyPath) -> Volume:
    header = _parse_header(path)
    offset = _find_voxels(header, str(path))
    if header.compressed:
        return Volume(_voxels(header, _inflate(header, offset, str(path)), 0), header.affine)
    if isinstance(header.data_path, Path):
        with header.data_path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        # Otherwise the kernel reads ahead far beyond the lines of a patch.
        mapped.madvise(mmap.MADV_RANDOM)
        return Volume(_voxels(header, mapped, offset), header.affine)
    # Zeros where nothing has been fetched yet; such memory is not allocated before.
    memory = mmap.mmap(-1, header.size_bytes)
    return Volume(_voxels(header, memory, 0), header.affine, partial(fetch_views, header.data_path, offset, memory))


def _voxels(header: MetaImageHeader, memory: mmap.mmap | bytes, offset: int) -> NDArray[np.generic]:
    """A view (channel, i, j, k) of some memory."""
    i, j, k = header.shape
    flat = np.frombuffer(memory, header.dtype, i * j * k * header.channels, offset)
    return flat.reshape(k, j, i, header.channels).transpose(3, 2, 1, 0)


def _read_header(path: AnyPath) -> FileHeader:
    header = _parse_header(path)
    _find_voxels(header, str(path))
    return FileHeader(header.channels, header.shape, header.dtype, header.affine, tuple({path, header.data_path}))


def _files(path: AnyPath) -> tuple[AnyPath, ...]:
    return (path, _parse_header(path).data_path)


METAIMAGE = Format("MetaImage", (".mhd", ".mha"), _read, _read_header, files=_files)
