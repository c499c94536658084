"""Paths of files on disks and, by URL, in object storage.

A path is a `pathlib.Path` or, for a URL, a `UPath` with the same methods. Credentials come from the environment or the
machine's role and are never part of a path. Requests to object storage are repeated with growing pauses; a request that
fails every time is a WorkError.
"""

import errno
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from voxray.errors import ConfigError, VoxrayError, WorkError

if TYPE_CHECKING:
    from upath import UPath

# UPath is imported where it is used, because it takes a while.
AnyPath: TypeAlias = Union[Path, "UPath"]

URL = re.compile(r"(?P<protocol>[a-z][a-z\d+.-]*)://(?P<rest>.*)", re.IGNORECASE)
LONGEST_NAME, LONGEST_PATH = 255, 4000  # bytes, with room for the folders of a run
ATTEMPTS = "8"  # about half a minute, as the pauses double
CONNECTIONS = 32
OPENED = Path("/dev/fd")  # where a shell puts files and pipes that it opened for a process
SPECIAL = {stat.S_ISDIR: "a folder", stat.S_ISFIFO: "a pipe", stat.S_ISSOCK: "a socket"}


def is_url(text: str) -> bool:
    """Whether a text is a URL rather than a path."""
    return URL.fullmatch(text) is not None


def to_path(text: str | os.PathLike[str], where: str = "") -> AnyPath:
    """A path on a disk or, for ``s3://bucket/folder`` or ``gs://…``, in object storage; ``file://`` is a disk.

    Parameters
    ----------
    text : str or path
    where : str
        The setting or option, for messages.

    Raises
    ------
    ConfigError
        No path, an unknown protocol, or a user or password in the URL.
    """
    if not isinstance(text, str | os.PathLike):
        raise ConfigError(where or "path", f"expected a path or URL, got {text!r:.80}", "Give a text or a pathlib.Path")
    match = URL.fullmatch(os.fspath(text))
    if match is None:
        return Path(text)
    protocol, rest = match["protocol"].lower(), match["rest"].rstrip("/")
    if "@" in rest.partition("/")[0]:
        problem = "has a user or a password before the '@', which would be saved with the run"
        raise ConfigError(where or f"{protocol}://…", problem, "Set credentials in the environment")
    if protocol == "file":
        return Path(f"/{rest.partition('/')[2]}")
    if protocol not in PROTOCOLS or not rest:
        supported = ", ".join(f"{name}://" for name in ("file", *PROTOCOLS))
        raise ConfigError(where or str(text), f"unsupported URL, got '{text}'", f"Use one of {supported}")
    from upath import UPath

    path: AnyPath = UPath(f"{protocol}://{rest}", use_listings_cache=False, **PROTOCOLS[protocol]())
    return path


def join_path(folder: AnyPath, text: str) -> AnyPath:
    """A path that is relative to a folder, or a URL."""
    return to_path(text) if is_url(text) else folder / text


def named_files(text: str) -> list[str]:
    """The files that a path names: several where its last part has a list in braces, as in a shell.

    Examples
    --------
    >>> named_files("a_{t1,t2}.nii"), named_files("{images/a.nii,masks/a.nii}"), named_files("a.nii")
    (['a_t1.nii', 'a_t2.nii'], ['images/a.nii', 'masks/a.nii'], ['a.nii'])
    >>> named_files("{liver.nii,}")
    ['liver.nii']
    """
    return [file for file in listed_files(text) if file is not None]


def listed_files(text: str) -> list[str | None]:
    """The files of `named_files`, and None for an entry of the list that is left empty."""
    listed = re.fullmatch(r"(.*)\{([^{}]*,[^{}]*)\}([^/{}]*)", text)
    if listed is None:
        return [text]
    before, names, after = listed.groups()
    can_be_empty = not after and (not before or before.endswith("/"))
    return [None if can_be_empty and not name else f"{before}{name}{after}" for name in names.split(",")]


def stays_below(text: str) -> bool:
    """Whether a path that a file names stays in that file's folder: it is relative, without ``..``, and no URL.

    A header or table may come from a stranger, and must not choose which files of this machine are read. Links in a
    folder are followed: they were made by those who can write there.

    Examples
    --------
    >>> stays_below("images/a.raw"), stays_below("../a.raw"), stays_below("/etc/passwd"), stays_below("{../a,b}.nii")
    (True, False, False, False)
    """
    return not any(
        is_url(path) or path.startswith(("/", "\\")) or ".." in re.split(r"[/\\]", path)
        for path in (text, *named_files(text))
    )


def is_too_long(text: str) -> bool:
    """Whether a path has more bytes than file systems allow in a name or a path."""
    return len(text.encode()) > LONGEST_PATH or any(len(part.encode()) > LONGEST_NAME for part in text.split("/"))


def list_once(folder: AnyPath) -> AnyPath:
    """The same folder with a cached listing of all below it, which answers later requests.

    So ten thousand scans take one listing instead of a request each. Later changes are not seen.
    """
    if isinstance(folder, Path):
        return folder
    from upath import UPath

    listed: UPath = UPath(str(folder), **{**folder.storage_options, "use_listings_cache": True})
    with storage_errors(folder):
        listed.fs.invalidate_cache()
        listed.fs.find(listed.path)
    return listed


def exists(path: AnyPath) -> bool:
    """Whether a file or folder exists."""
    with storage_errors(path):
        return path.exists()


def matching(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """The paths in a folder that match a glob pattern, sorted by name."""
    with storage_errors(folder):
        paths: Iterable[AnyPath] = list(folder.glob(pattern))
    return sorted(paths, key=lambda path: tuple(path.parts))


def tags(folder: "UPath") -> dict[str, tuple[int, str]]:
    """Size and ETag of the files in a folder of object storage, by name, in one listing."""
    try:
        with storage_errors(folder):
            listed: list[dict[str, Any]] = folder.fs.ls(folder.path, detail=True)
    except FileNotFoundError:
        return {}
    return {
        info["name"].rpartition("/")[2]: (int(info["size"]), str(info.get("ETag") or info.get("etag")))
        for info in listed
        if info["type"] == "file"
    }


def relative_path(folder: AnyPath, path: AnyPath) -> str:
    """A path relative to a folder, with slashes."""
    return path.relative_to(str(folder)).as_posix()


@contextmanager
def storage_errors(path: AnyPath) -> Iterator[None]:
    """Turn errors of object storage into WorkError; the block may only send requests.

    FileNotFoundError and the errors of disks are not changed.
    """
    try:
        yield
    except (FileNotFoundError, VoxrayError):
        raise
    except Exception as error:
        if isinstance(path, Path):
            raise
        raise storage_failure(path, error) from error


def is_storage_error(error: Exception, where: str = "") -> bool:
    """Whether an error comes from object storage: from its libraries, or from reading a file at a URL."""
    of_library = type(error).__module__.partition(".")[0] in ("aiobotocore", "aiohttp", "botocore", "gcsfs")
    return of_library or (isinstance(error, OSError) and is_url(where))


def storage_failure(path: AnyPath | str, error: Exception) -> WorkError:
    """The error for object storage that fails every time."""
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    remedy = "Check network, bucket, permissions and credentials, then re-run the same command to resume"
    return WorkError(str(path), f"object storage failed: {reason}", remedy)


def regular_file(path: Path) -> Path:
    """The same path; OSError for a folder, or for a pipe, socket or device, which might never end."""
    mode = path.stat().st_mode
    if stat.S_ISREG(mode):
        return path
    kind = next((name for is_kind, name in SPECIAL.items() if is_kind(mode)), "a device")
    number = errno.EISDIR if stat.S_ISDIR(mode) else errno.EINVAL
    raise OSError(number, f"expected a file, got {kind}", str(path))


def read_bytes(path: AnyPath) -> bytes:
    """The content of a file, in one request, or of a pipe that a shell opened for this process, as ``<(…)``."""
    if isinstance(path, Path):
        return (path if path.parent == OPENED else regular_file(path)).read_bytes()
    with storage_errors(path):
        content: bytes = path.fs.cat_file(path.path)
    return content


def read_start(path: AnyPath, count: int) -> bytes:
    """The first bytes of a file, at most `count`."""
    return read_range(path, 0, count)


def read_range(path: AnyPath, start: int, end: int | None = None) -> bytes:
    """The bytes from `start`, if negative counted from the end, to `end`; fewer where the file is shorter."""
    if isinstance(path, Path):
        with regular_file(path).open("rb") as file:
            begin = start if start >= 0 else max(0, file.seek(0, os.SEEK_END) + start)
            file.seek(begin)
            return file.read(-1 if end is None else end - begin)
    with storage_errors(path):
        try:
            content: bytes = path.fs.cat_file(path.path, start=start, end=end)
        except OSError as error:
            if error.errno != errno.EINVAL:  # an empty file has no range
                raise
            content = path.fs.cat_file(path.path)
    return content


def size_of(path: AnyPath) -> int:
    """Bytes of a file."""
    if isinstance(path, Path):
        return regular_file(path).stat().st_size
    with storage_errors(path):
        return int(path.fs.size(path.path))


def read_ranges(path: "UPath", ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes from each start to each end, in parallel requests."""
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    with storage_errors(path):
        parts: list[bytes] = path.fs.cat_ranges([path.path] * len(ranges), starts, ends, on_error="raise")
    return parts


def as_file(path: AnyPath) -> Path | BytesIO:
    """A file as libraries read it: its path, or its content if it is in object storage."""
    return regular_file(path) if isinstance(path, Path) else BytesIO(read_bytes(path))


@contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """A local copy of a file or folder for the time of the block; a path on a disk is returned as it is."""
    if isinstance(path, Path):
        yield path if path.is_dir() else regular_file(path)
        return
    with tempfile.TemporaryDirectory(prefix="voxray_") as folder:
        copy = Path(folder, path.name)
        with storage_errors(path):
            path.fs.get(path.path, str(copy), recursive=path.is_dir())
        yield copy


def upload(local: Path, path: "UPath") -> None:
    """Upload a file, or a folder with all below it; each file is written as a whole or not at all."""
    with storage_errors(path):
        folder = "/" if local.is_dir() else ""
        path.fs.put(f"{local}{folder}", f"{path.path}{folder}", recursive=local.is_dir())


@contextmanager
def folder_to_fill(path: AnyPath) -> Iterator[Path]:
    """A local folder for the time of the block, whose content then belongs to `path`."""
    if isinstance(path, Path):
        path.mkdir(parents=True, exist_ok=True)
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="voxray_") as folder:
        try:
            yield Path(folder)
        finally:
            upload(Path(folder), path)


def remove_folder(path: AnyPath) -> None:
    """Remove a folder with all below it, if it exists."""
    if isinstance(path, Path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with storage_errors(path):
        if path.is_dir():
            path.fs.rm(path.path, recursive=True)


def _s3() -> dict[str, Any]:
    # The environment variables of botocore.
    retries = {
        "mode": os.environ.get("AWS_RETRY_MODE", "standard"),
        "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS)),
    }
    # One request for a file: s3fs would request its size first, to fetch large files in parts.
    return {"max_concurrency": 1, "config_kwargs": {"retries": retries, "max_pool_connections": CONNECTIONS}}


PROTOCOLS = {"s3": _s3, "gs": dict}
