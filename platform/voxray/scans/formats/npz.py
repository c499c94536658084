"""One image out of an array of many in an ``.npz`` file: ``FILE.npz/MEMBER/ROW`` is its path.

A deflated member can only be read from its beginning, so it is inflated once per process and then mapped.
"""

import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.formats.base import Format
from voxray.storage.paths import AnyPath
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
    with (
        file.open("rb") as packed,
        zipfile.ZipFile(packed) as archive,
        archive.open(f"{member}.npy") as source,
        tempfile.TemporaryFile() as plain,
    ):
        while block := source.read(STEP_BYTES):
            plain.write(block)
        plain.seek(0)
        version = np.lib.format.read_magic(plain)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, columns_first, dtype = read(plain)
        order: Any = "F" if columns_first else "C"
        return np.memmap(plain, dtype, "r", plain.tell(), shape, order)


NPZ = Format("NPZ stack", (), open_npz_row, matches=is_npz_row, files=lambda path: (path.parents[1],), oriented=False)
