"""NRRD files, read by ITK once their header was checked.

Format: https://teem.sourceforge.net/nrrd/format.html.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import FileHeader, Format, expand_pattern, header_of, named_file, on_disk
from voxray.scans.formats.inflate import MOST_GROWTH, inflate
from voxray.scans.geometry import LEAST_STEP_MM, MOST_STEP_MM, lps_affine
from voxray.storage.paths import AnyPath, read_bytes, read_start, size_of
from voxray.volume import Volume

MAGIC = b"NRRD0"
HEADER_LIMIT_BYTES = 2**20
CORRECT = "Correct the header, or write the scan again"
CHAR = ("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t")
SHORT = ("short", "short int", "signed short", "signed short int", "int16", "int16_t")
USHORT = ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t")
INT = ("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t")
LONG = ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t")
ULONG = ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t")
TYPE_BYTES = {
    **dict.fromkeys(CHAR, 1),
    **dict.fromkeys((*SHORT, *USHORT), 2),
    **dict.fromkeys((*INT, "float"), 4),
    **dict.fromkeys((*LONG, *ULONG, "double"), 8),
}
# The least bytes of a file for each byte of voxels.
ENCODINGS = {"raw": 1.0, "txt": 0.25, "text": 0.25, "ascii": 0.25, "hex": 2.0}
GZIP = ("gz", "gzip")
MILLIMETERS = {"mm": 1.0, "millimeter": 1.0, "um": 0.001, "µm": 0.001, "micron": 0.001, "cm": 10.0, "m": 1000.0}


@dataclass(frozen=True)
class NrrdHeader:
    """What is checked before ITK reads a file.

    Attributes
    ----------
    size_bytes : int
        Of the uncompressed voxels.
    encoding : str
    data_paths : tuple of path
        The file itself, or others that hold the voxels.
    end : int
        Byte at which the header ends, where the voxels follow it.
    line_skip, byte_skip : int
        Before the voxels; -1 bytes: they end with the file.
    unit_mm : float
        Millimeters of the unit of the space.
    """

    size_bytes: int
    encoding: str
    data_paths: tuple[AnyPath, ...]
    end: int
    line_skip: int
    byte_skip: int
    unit_mm: float


def _parse_header(path: AnyPath) -> NrrdHeader:
    where = str(path)
    fields, listed, end = _read_fields(path)
    for key in ("type", "sizes", "encoding"):
        if key not in fields:
            raise ScanError(where, f"the header has no '{key}'", CORRECT)
    sizes = [_whole(word, "sizes", where) for word in fields["sizes"].split()]
    kind = fields["type"].lower()
    if kind not in TYPE_BYTES:
        raise ScanError(where, f"type: expected integers or floats, got '{kind:.80}'", CORRECT)
    if not sizes or min(sizes) < 1:
        raise ScanError(where, f"sizes: expected whole numbers above zero, got {sizes}", CORRECT)
    encoding = fields["encoding"].lower()
    if encoding not in (*ENCODINGS, *GZIP):
        raise ScanError(where, f"encoding '{encoding:.80}' is not supported", "Write it as raw or gzip")
    _check_steps(fields, where)
    named = fields.get("data file", fields.get("datafile"))
    names = [] if named is None else listed if named.startswith("LIST") else expand_pattern(named, where)
    byte_skip = _whole(fields.get("byte skip", fields.get("byteskip", "0")), "byte skip", where)
    line_skip = _whole(fields.get("line skip", fields.get("lineskip", "0")), "line skip", where)
    if line_skip < 0 or byte_skip < -1 or (byte_skip < 0 and encoding in GZIP):
        raise ScanError(where, f"expected lines and bytes to skip, got {line_skip} and {byte_skip}", CORRECT)
    return NrrdHeader(
        size_bytes=math.prod(sizes) * TYPE_BYTES[kind],
        encoding=encoding,
        data_paths=(path,) if named is None else tuple(named_file(path, name) for name in names),
        end=end if named is None else 0,
        line_skip=line_skip,
        byte_skip=byte_skip,
        unit_mm=_unit_mm(fields.get("space units", ""), where),
    )


def _read_fields(path: AnyPath) -> tuple[dict[str, str], list[str], int]:
    """The fields of the header, the names of a list of files, and the byte at which the header ends."""
    head = read_start(path, HEADER_LIMIT_BYTES)
    if not head.startswith(MAGIC):
        raise ScanError(str(path), "not an NRRD file: it does not begin with 'NRRD'", "Fetch the file again")
    fields: dict[str, str] = {}
    listed: list[str] = []
    position = 0
    for line in head.splitlines(keepends=True):
        position += len(line)
        text = line.decode(errors="replace").strip()
        if not text:
            break
        key, separator, value = text.partition(":")
        if fields.get("data file", fields.get("datafile", "")).startswith("LIST"):
            listed.append(text)
        elif separator and not text.startswith("#") and not value.startswith("="):
            key, value = key.strip().lower(), value.strip()
            if fields.setdefault(key, value) != value:
                raise ScanError(str(path), f"'{key}' has two values, got '{fields[key]}' and '{value}'", CORRECT)
    return fields, listed, position


def _whole(text: str, key: str, where: str) -> int:
    if not text.lstrip("-").isdecimal() or len(text) > 18:
        raise ScanError(where, f"{key}: expected whole numbers, got '{text:.80}'", CORRECT)
    return int(text)


def _check_steps(fields: Mapping[str, str], where: str) -> None:
    """Raise ScanError for distances that nothing can have: ITK takes 1 for some of them."""
    for key in ("space directions", "spacings"):
        for word in re.split(r"[\s(),]+", fields.get(key, "")):
            try:
                step = abs(float(word or "0"))
            except ValueError:  # such as none
                continue
            if step >= MOST_STEP_MM or 0 < step < LEAST_STEP_MM / MOST_STEP_MM:
                raise ScanError(where, f"{key}: expected distances of voxels, got '{word:.80}'", CORRECT)


def _unit_mm(text: str, where: str) -> float:
    """Of ``"mm" "mm" "mm"``; without units they are millimeters."""
    units = set(filter(None, text.replace('"', " ").split())) - {"???"}
    unknown = units - set(MILLIMETERS)
    if unknown or len(units) > 1:
        raise ScanError(where, f"space units: expected one of {', '.join(MILLIMETERS)}, got '{text:.80}'", CORRECT)
    return MILLIMETERS[units.pop()] if units else 1.0


def _check(header: NrrdHeader, where: str) -> None:
    """Raise ScanError if the files of the voxels are missing, or cannot hold as many as the header says."""
    sizes = []
    for path in header.data_paths:
        try:
            sizes.append(size_of(path) - header.end)
        except FileNotFoundError:
            raise ScanError(where, f"its voxel file {path.name} is missing", "Fetch it again") from None
    held = sum(sizes)
    exact = header.encoding == "raw" and header.line_skip == 0 and header.byte_skip >= 0
    if exact and held - header.byte_skip * len(sizes) != header.size_bytes:
        held -= header.byte_skip * len(sizes)
        raise ScanError(where, f"holds {max(0, held):,} bytes of voxels, expected {header.size_bytes:,}", CORRECT)
    least = header.size_bytes * ENCODINGS.get(header.encoding, 1 / MOST_GROWTH)
    if held < least:
        problem = f"holds {max(0, held):,} bytes, too few for {header.size_bytes:,} bytes of voxels"
        raise ScanError(where, problem, "The file is cut off; fetch it again")


def _check_stream(header: NrrdHeader, where: str) -> None:
    """Raise an error if a gzip stream is damaged: ITK does not compare its checksum."""
    for path in header.data_paths:
        packed = read_bytes(path)[header.end :]
        for _ in range(header.line_skip):
            packed = packed.partition(b"\n")[2]
        share = header.size_bytes // len(header.data_paths)
        if len(inflate(packed, header.byte_skip + share, where)) < header.byte_skip + share:
            raise ScanError(where, f"{path.name} holds too few voxels", "The file is cut off; fetch it again")


def _read(path: AnyPath) -> Volume:
    import SimpleITK  # takes a third of a second, which other formats need not wait for

    header = _checked_header(path)
    if header.encoding in GZIP:
        _check_stream(header, str(path))
    with on_disk(path) as file:
        image = SimpleITK.ReadImage(str(file))
    if image.GetDimension() != 3:
        raise ScanError(str(path), f"expected 3 dimensions, got {image.GetDimension()}", "Write it as a volume")
    # A copy: a view of a SimpleITK image dangles once the image is deleted.
    array = SimpleITK.GetArrayFromImage(image)
    channels_last = array if array.ndim == 4 else array[..., None]
    return Volume(channels_last.transpose(3, 2, 1, 0), _affine(image, header.unit_mm))


def _read_header(path: AnyPath) -> FileHeader:
    import SimpleITK

    header = _checked_header(path)
    reader = SimpleITK.ImageFileReader()
    with on_disk(path) as file:
        reader.SetFileName(str(file))
        reader.ReadImageInformation()
    if reader.GetDimension() != 3:
        return header_of(_read(path), path)  # raises the error
    i, j, k = reader.GetSize()
    empty = SimpleITK.Image([1, 1, 1], reader.GetPixelID(), reader.GetNumberOfComponents())
    dtype = SimpleITK.GetArrayViewFromImage(empty).dtype
    files = tuple(dict.fromkeys((path, *header.data_paths)))
    affine = _affine(reader, header.unit_mm)
    return FileHeader(reader.GetNumberOfComponents(), (i, j, k), dtype, affine, files)


def _checked_header(path: AnyPath) -> NrrdHeader:
    header = _parse_header(path)
    if not isinstance(path, Path) and header.data_paths != (path,):
        raise ScanError(str(path), "its voxels are in another file, which is read on disks alone", "Write it as .nrrd")
    _check(header, str(path))
    return header


def _affine(image: Any, unit_mm: float) -> NDArray[np.float64]:
    direction = np.array(image.GetDirection()).reshape(3, 3)
    return lps_affine(np.array(image.GetOrigin()) * unit_mm, direction, np.array(image.GetSpacing()) * unit_mm)


def _files(path: AnyPath) -> tuple[AnyPath, ...]:
    return (path, *_parse_header(path).data_paths)


NRRD = Format("NRRD", (".nrrd", ".nhdr"), _read, _read_header, files=_files)
