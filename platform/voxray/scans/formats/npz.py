"""One image out of an array of many in an ``.npz`` file: ``FILE.npz/MEMBER/ROW`` is its path.

A deflated member can only be read from its beginning, so it is inflated once per process and then mapped.
"""

import math
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import Format, check_dtype
from voxray.storage.paths import AnyPath, regular_file
from voxray.volume import Volume

SUFFIX = ".npz"
COLORS = 3
STEP_BYTES = 2**22


def is_npz_row(path: AnyPath) -> bool:
    """Whether a path names a row of an ``.npz`` file."""
    return len(path.parents) > 2 and path.parents[1].suffix.lower() == SUFFIX


def open_npz_row(path: AnyPath) -> Volume:
    """Open one image of a stack of (y, x), of (y, x, 3) or of (z, y, x).

    The affine is the identity, because such files keep no geometry.
    """
    file = path.parents[1]
    stack = _map_member(file, path.parent.name, file.stat().st_mtime_ns if isinstance(file, Path) else 0)
    if not path.name.isdecimal() or int(path.name) >= len(stack):
        raise ScanError(str(path), f"no such image: {path.parent.name} holds {len(stack)}", "Ingest it again")
    image = stack[int(path.name)]
    if image.ndim == 3 and image.shape[-1] == COLORS:
        return Volume(image.transpose(2, 1, 0)[..., None], np.eye(4))
    if image.ndim not in (2, 3):
        raise ScanError(str(path), f"expected an image of 2 or 3 dimensions, got shape {image.shape}", "Fetch it again")
    return Volume(np.atleast_3d(image.T)[None], np.eye(4))


@lru_cache(maxsize=1)
def _map_member(file: AnyPath, member: str, _changed_ns: int) -> NDArray[Any]:
    """A member as an array in an unnamed temporary file; read again when the archive has changed."""
    with open_member(file, member) as found, tempfile.TemporaryFile() as plain:
        while block := found.source.read(STEP_BYTES):
            plain.write(block)
        plain.flush()
        order: Any = "F" if found.columns_first else "C"
        return np.memmap(plain, found.dtype, "r", 0, found.shape, order)


@dataclass(frozen=True)
class Member:
    """An array in an archive: what its header says, and its bytes, as many as the header says, still to be read."""

    shape: tuple[int, ...]
    columns_first: bool
    dtype: np.dtype[Any]
    source: IO[bytes]


@contextmanager
def open_member(file: AnyPath, name: str) -> Iterator[Member]:
    """Open an array of real numbers in an ``.npz`` file, by its name without suffix.

    Raises
    ------
    ScanError
        It does not hold as many bytes as its header says: a small archive may claim to hold more than any disk.
    """
    if isinstance(file, Path):
        regular_file(file)
    with (
        file.open("rb") as packed,
        zipfile.ZipFile(packed) as archive,
        archive.open(f"{name}.npy") as source,
    ):
        version = np.lib.format.read_magic(source)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(source)
        check_dtype(dtype, f"{file}/{name}")
        expected = math.prod(shape) * dtype.itemsize
        if not shape or min(shape) < 0 or expected != archive.getinfo(source.name).file_size - source.tell():
            problem = f"expected {expected:,} bytes for an array of shape {shape}, got another number"
            raise ScanError(f"{file}/{name}", problem, "Fetch it again")
        yield Member(shape, columns_first, dtype, source)


NPZ = Format("NPZ stack", (), open_npz_row, matches=is_npz_row, files=lambda path: (path.parents[1],), oriented=False)
