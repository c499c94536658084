"""What every file format provides, and what their readers share."""

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError, WorkError
from voxray.storage.paths import AnyPath, local_copy, stays_below
from voxray.volume import Volume

MOST_BYTES = 8  # of a voxel's number
MOST_FILES = 2**15  # of a scan, a slice each


@dataclass(frozen=True, eq=False)
class FileHeader:
    """The grid of a file in the file's own axes, and the files that belong to it.

    Attributes
    ----------
    channels : int
    shape : tuple of int
        Voxels along i, j, k.
    dtype : numpy.dtype
        Of the voxels in memory.
    affine : ndarray, (4, 4)
        Index (i, j, k) to world millimeters, RAS.
    files : tuple of path
    notes : tuple of str
        What is doubtful about the file, though it can be read.
    """

    channels: int
    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    affine: NDArray[np.float64]
    files: tuple[AnyPath, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Format:
    """A file format: how its files are recognized and read.

    Attributes
    ----------
    name : str
    suffixes : tuple of str
        In lower case, with the dot. Empty if `matches` alone recognizes the format.
    read : callable
        Path to Volume: voxels (channel, i, j, k) in the axes of the file, and the affine of these axes. It may raise
        any exception; the caller turns it into a ScanError.
    read_header : callable, optional
        Path to FileHeader without reading voxels. By default the file is decoded.
    matches : callable
        Path to bool: whether a path without a known suffix is of this format.
    files : callable
        Path to the paths of all files that reading it opens, without decoding them; by default the path itself. It may
        raise any exception where they cannot be found.
    oriented : bool
        Whether the file says how its axes lie in the patient. Pictures do not: their axes are kept as they are.
    """

    name: str
    suffixes: tuple[str, ...]
    read: Callable[[AnyPath], Volume]
    read_header: Callable[[AnyPath], FileHeader] | None = None
    matches: Callable[[AnyPath], bool] = lambda _: False
    files: Callable[[AnyPath], Iterable[AnyPath]] = lambda path: (path,)
    oriented: bool = True


def header_of(volume: Volume, path: AnyPath) -> FileHeader:
    """The header of a decoded file."""
    files = (path,) if path.is_file() else ()
    return FileHeader(volume.array.shape[0], volume.shape, volume.array.dtype, volume.affine, files)


def named_file(header: AnyPath, name: str) -> AnyPath:
    """A file that a header names; ScanError unless it is in the header's folder or below it.

    A scan may come from a stranger, and must not bring other files of this machine into a store or report.
    """
    if not name or not stays_below(name):
        problem = f"names the file '{name:.80}', expected one in its own folder or below"
        raise ScanError(str(header), problem, "Move the file there and correct the header")
    return header.parent / name


def expand_pattern(text: str, where: str) -> list[str]:
    """The file names that a header means: ``a%03d.raw 1 4 1`` is ``a001.raw`` to ``a004.raw``; others are one name."""
    found = re.fullmatch(r"([^%]*)%(0?\d?)d(\S*)((?:\s+\d{1,9}){2,4})", text)
    if found is None:
        if "%" in text:
            problem = f"expected file names like 'a%03d.raw 1 4 1', got '{text:.80}'"
            raise ScanError(where, problem, "Write it as one file")
        return [text]
    before, width, after, numbers = found.groups()
    first, last, *rest = map(int, numbers.split())
    chosen = range(first, last + 1, max(1, rest[0] if rest else 1))
    if len(chosen) > MOST_FILES:
        raise ScanError(where, f"expected {MOST_FILES:,} files or fewer, got {len(chosen):,}", "Write it as one file")
    return [f"{before}{number:{width}d}{after}" for number in chosen]


def check_dtype(dtype: np.dtype[np.generic], where: str) -> None:
    """Raise ScanError for voxels that are no real numbers: colors, complex numbers, objects."""
    if dtype.kind not in "iufb" or dtype.itemsize > MOST_BYTES:
        raise ScanError(where, f"expected real numbers as voxels, got {_dtype_text(dtype)}", "Convert it first")


def _dtype_text(dtype: np.dtype[np.generic]) -> str:
    """Voxels in words: ``RGB colors``, ``complex numbers``; else the name of their type."""
    if dtype.names and set(dtype.names) <= set("RGBA"):
        return f"{''.join(dtype.names)} colors"
    if not dtype.itemsize:
        return "a type that NumPy does not have"
    return "complex numbers" if dtype.kind == "c" else str(dtype)


def check_voxels(channels: int, shape: tuple[int, int, int], dtype: np.dtype[np.generic], where: str) -> None:
    """Raise ScanError where there is no voxel, or voxels are no real numbers."""
    check_dtype(dtype, where)
    if min(channels, *shape) < 1:
        raise ScanError(where, f"expected at least one voxel, got {channels} channels of {shape}", "Fetch it again")


@contextmanager
def scan_errors(path: AnyPath | str) -> Iterator[None]:
    """Turn every exception of the work on one scan into ScanError; failures of object storage stay WorkError."""
    try:
        yield
    except FileNotFoundError:
        raise ScanError(str(path), "no such file", "Check the path") from None
    except (ScanError, WorkError):
        raise
    except Exception as error:  # noqa: BLE001  decoders raise any type; one scan must not stop the others
        reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
        raise ScanError(str(path), f"cannot be read: {reason}", "Fetch the file again") from None


@contextmanager
def on_disk(path: AnyPath) -> Iterator[Path]:
    """A file or folder on a local disk, for libraries that read nothing else; errors name the original path."""
    with local_copy(path) as copy:
        try:
            with scan_errors(copy):
                yield copy
        except ScanError as error:
            raise type(error)(*(text.replace(str(copy), str(path)) for text in error.args)) from None
