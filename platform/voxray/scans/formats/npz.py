"""One image out of an array of many in an ``.npz`` file: ``FILE.npz/MEMBER/ROW`` is its path.

A deflated member can only be read from its beginning, so it is inflated once per process and then mapped.
"""

import math
import tempfile
import zipfile
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
    if isinstance(file, Path):
        regular_file(file)
    with (
        file.open("rb") as packed,
        zipfile.ZipFile(packed) as archive,
        archive.open(f"{member}.npy") as source,
        tempfile.TemporaryFile() as plain,
    ):
        shape, columns_first, dtype = _read_array_header(source)
        check_dtype(dtype, f"{file}/{member}")
        left = math.prod(shape) * dtype.itemsize
        # Before anything is written: a small archive may claim to hold more than any disk.
        if not shape or left != archive.getinfo(source.name).file_size - source.tell():
            problem = f"expected {left:,} bytes for an array of shape {shape}, got another number"
            raise ScanError(f"{file}/{member}", problem, "Fetch it again")
        while block := source.read(STEP_BYTES):
            plain.write(block)
        plain.flush()
        order: Any = "F" if columns_first else "C"
        return np.memmap(plain, dtype, "r", 0, shape, order)


def _read_array_header(source: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of an ``.npy`` file, from where it begins."""
    version = np.lib.format.read_magic(source)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(source)


NPZ = Format("NPZ stack", (), open_npz_row, matches=is_npz_row, files=lambda path: (path.parents[1],), oriented=False)
