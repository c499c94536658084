"""The text header of a MetaImage.

Source: the MetaIO documentation of ``ObjectType = Image`` files. A value that could be meant in two ways is refused.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import expand_pattern, named_file
from voxray.scans.geometry import lps_affine
from voxray.storage.paths import AnyPath, read_start

DTYPES = {
    "MET_CHAR": "i1",
    "MET_UCHAR": "u1",
    "MET_SHORT": "i2",
    "MET_USHORT": "u2",
    "MET_INT": "i4",
    "MET_UINT": "u4",
    "MET_LONG": "i4",  # in files, on every machine
    "MET_ULONG": "u4",
    "MET_LONG_LONG": "i8",
    "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4",
    "MET_DOUBLE": "f8",
}
HEADER_LIMIT_BYTES = 65536
CORRECT = "Correct the header, or write the scan again"
# Names of one key; the first ones are those that MetaIO writes.
SPACING, ORIGIN = ("ElementSpacing", "ElementSize"), ("Offset", "Origin", "Position")
DIRECTION = ("TransformMatrix", "Orientation", "Rotation")
BYTE_ORDER = ("BinaryDataByteOrderMSB", "ElementByteOrderMSB")
MILLIMETERS = {"mm": 1.0, "um": 0.001, "cm": 10.0}  # of DistanceUnits

Fields = Mapping[str, str]


@dataclass(frozen=True, eq=False)
class MetaImageHeader:
    """The text header.

    Attributes
    ----------
    shape : tuple of int
        (i, j, k), i runs fastest in the file.
    dtype : numpy.dtype
        With the file's byte order.
    channels : int
    affine : ndarray, (4, 4)
        Index (i, j, k) to world RAS.
    data_paths : tuple of path
        File of the voxels, or several of as many slices each.
    data_offset : int
        Where they begin; -1: they end with the file.
    compressed : bool
    binary : bool
        Whether voxels are bytes; otherwise they are decimal numbers.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    channels: int
    affine: NDArray[np.float64]
    data_paths: tuple[AnyPath, ...]
    data_offset: int
    compressed: bool
    binary: bool

    @property
    def voxels_per_file(self) -> int:
        """Numbers in each file of voxels."""
        return math.prod(self.shape) * self.channels // len(self.data_paths)

    @property
    def file_bytes(self) -> int:
        """Bytes of the uncompressed voxels of each file."""
        return self.voxels_per_file * self.dtype.itemsize


def parse_header(path: AnyPath) -> MetaImageHeader:
    """Parse a ``.mhd`` or ``.mha`` header; ScanError if a key is missing or has an invalid value."""
    fields, names, end = _read_fields(path)
    where = str(path)
    if fields.get("ObjectType", "Image") != "Image":
        raise ScanError(where, f"ObjectType: expected 'Image', got '{fields['ObjectType']:.80}'", "Give an image")
    shape = _sizes(fields, "DimSize", where)
    dimensions = _sizes(fields, "NDims", where, default="3")
    if len(shape) != 3 or dimensions != [3]:
        raise ScanError(where, f"DimSize: expected three sizes, got '{fields['DimSize']}'", CORRECT)
    element = _text(fields, ("ElementType",), where)
    if element not in DTYPES:
        raise ScanError(where, f"ElementType '{element}' is not supported", f"Known: {', '.join(DTYPES)}")
    channels = _sizes(fields, "ElementNumberOfChannels", where, default="1")
    if len(channels) != 1:
        raise ScanError(where, f"expected one number of channels, got {channels}", CORRECT)
    paths = _data_paths(path, names, shape[2])
    is_local = paths == (path,)
    binary, compressed = _flag(fields, ("BinaryData",), where, default=True), _flag(fields, ("CompressedData",), where)
    if compressed and not binary:
        raise ScanError(where, "decimal numbers cannot be compressed", CORRECT)
    return MetaImageHeader(
        shape=(shape[0], shape[1], shape[2]),
        dtype=np.dtype((">" if _flag(fields, BYTE_ORDER, where) else "<") + DTYPES[element]),
        channels=channels[0],
        affine=_affine(fields, where),
        data_paths=paths,
        data_offset=end if is_local else _offset(fields, where),
        compressed=compressed,
        binary=binary,
    )


def _read_fields(path: AnyPath) -> tuple[dict[str, str], list[str], int]:
    """The keys with their values, the names of the voxel files, and the byte at which the header ends."""
    fields: dict[str, str] = {}
    lines = read_start(path, HEADER_LIMIT_BYTES).splitlines(keepends=True)
    position = 0
    for number, line in enumerate(lines):
        position += len(line)
        key, separator, value = (part.strip() for part in line.decode(errors="replace").partition("="))
        if not separator:
            break
        if fields.setdefault(key, value) != value:
            raise ScanError(str(path), f"'{key}' has two values, got '{fields[key]}' and '{value}'", CORRECT)
        # By the format, this key is the last one of the header, but for a list of names.
        if key == "ElementDataFile":
            listed = [name.decode(errors="replace").strip() for name in lines[number + 1 :]]
            names = [name for name in listed if name] if _is_list(value) else [value]
            return fields, names, position
    raise ScanError(str(path), "not a MetaImage header: no line 'ElementDataFile = …'", "Fetch the file again")


def _is_list(value: str) -> bool:
    return re.fullmatch(r"LIST(\s+2D?)?", value) is not None


def _data_paths(path: AnyPath, names: list[str], slices: int) -> tuple[AnyPath, ...]:
    """The files of the voxels; several of them hold a slice each."""
    if len(names) == 1 and names[0].upper() == "LOCAL":
        return (path,)
    expanded = expand_pattern(names[0], str(path)) if len(names) == 1 else names
    if len(expanded) not in (1, slices):
        problem = f"ElementDataFile names {len(expanded)} files, expected one for each of {slices} slices"
        raise ScanError(str(path), problem, CORRECT)
    return tuple(named_file(path, name) for name in expanded)


def _affine(fields: Fields, where: str) -> NDArray[np.float64]:
    spacing = _numbers(fields, SPACING, where, default="1 1 1")
    origin = _numbers(fields, ORIGIN, where, default="0 0 0")
    turn = _numbers(fields, DIRECTION, where, default="1 0 0 0 1 0 0 0 1")
    if (len(spacing), len(origin), len(turn)) != (3, 3, 9):
        problem = "expected 3, 3 and 9 numbers for spacing, offset and direction, got "
        raise ScanError(where, f"{problem}{len(spacing)}, {len(origin)} and {len(turn)}", CORRECT)
    if min(spacing) <= 0:
        raise ScanError(where, f"spacing must be above zero, got {spacing}", CORRECT)
    # The file lists one direction vector after the other; they are the columns of the matrix.
    direction = np.array(turn).reshape(3, 3).T
    with np.errstate(over="ignore", invalid="ignore"):
        if not abs(np.linalg.det(direction)) >= 1e-3:
            raise ScanError(where, f"direction matrix is singular, got {turn}", CORRECT)
        unit = MILLIMETERS.get(fields.get("DistanceUnits", "mm"), 1.0)
        return lps_affine(np.array(origin) * unit, direction, np.array(spacing) * unit)


def _text(fields: Fields, keys: tuple[str, ...], where: str, default: str | None = None) -> str:
    """The value of the first of these keys that the header has."""
    text = next((fields[key] for key in keys if key in fields), default)
    if text is None:
        raise ScanError(where, f"the header has no '{keys[0]}'", CORRECT)
    return text


def _numbers(fields: Fields, keys: tuple[str, ...], where: str, default: str | None = None) -> list[float]:
    """Finite numbers; where two names of one key are given, they must agree, but for `ElementSize`."""
    text = _text(fields, keys, where, default)
    given = [fields[key].split() for key in keys if key in fields and key != "ElementSize"]
    if any(other != given[0] for other in given):
        raise ScanError(where, f"'{keys[0]}' has two values under its names {', '.join(keys)}", CORRECT)
    try:
        numbers = list(map(float, text.split()))
    except ValueError:
        raise ScanError(where, f"'{keys[0]}': expected numbers, got '{text:.80}'", CORRECT) from None
    if not np.isfinite(numbers).all():
        raise ScanError(where, f"'{keys[0]}': expected finite numbers, got '{text:.80}'", CORRECT)
    return numbers


def _sizes(fields: Fields, key: str, where: str, default: str | None = None) -> list[int]:
    """Whole numbers above zero."""
    words = _text(fields, (key,), where, default).split()
    if not all(re.fullmatch(r"[0-9]{1,18}", word) and int(word) > 0 for word in words):
        raise ScanError(where, f"{key}: expected whole numbers above zero, got '{fields[key]:.80}'", CORRECT)
    return [int(word) for word in words]


def _offset(fields: Fields, where: str) -> int:
    text = fields.get("HeaderSize", "0")
    if not re.fullmatch(r"-1|[0-9]{1,18}", text):
        raise ScanError(where, f"HeaderSize: expected bytes, or -1, got '{text:.80}'", CORRECT)
    return int(text)


def _flag(fields: Fields, keys: tuple[str, ...], where: str, *, default: bool = False) -> bool:
    """Whether a value begins with T, t or 1, as in MetaIO; where two names of one key are given, they must agree."""
    flags = {fields[key][:1] in ("T", "t", "1") for key in keys if key in fields}
    if len(flags) > 1:
        raise ScanError(where, f"{' and '.join(keys)} contradict each other", CORRECT)
    return flags.pop() if flags else default
