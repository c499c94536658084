"""Where files lie: on disks that this machine sees, or in object storage by URL.

A place is a `pathlib.Path` or, for a URL, a `UPath` with the same methods. Credentials come from the environment or the
machine's role and are never a part of a place. Object storage that fails now and then is asked again, with growing
pauses; what fails for good is a WorkError.
"""

import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, Union

from voxray.errors import ConfigError, VoxrayError, WorkError

if TYPE_CHECKING:
    from upath import UPath

# UPath is imported where it is used: local work need not wait for it.
AnyPath: TypeAlias = Union[Path, "UPath"]

URL = re.compile(r"(?P<protocol>[a-z][a-z\d+.-]*)://(?P<rest>.*)", re.IGNORECASE)
ATTEMPTS = "8"  # about half a minute, with pauses that double
CONNECTIONS = 32


def is_url(text: str) -> bool:
    """Whether a text is a URL, and not a path."""
    return URL.fullmatch(text) is not None


def to_path(text: str | os.PathLike[str], where: str = "") -> AnyPath:
    """A path, or a place in object storage: ``s3://bucket/folder``, ``gs://…``. ``file://`` gives a path.

    Parameters
    ----------
    text : str or path
    where : str
        What names it, for messages.

    Raises
    ------
    ConfigError
        A protocol that is not known here, or a user or password in the URL.
    """
    found = URL.fullmatch(os.fspath(text))
    if found is None:
        return Path(text)
    protocol, rest = found["protocol"].lower(), found["rest"].rstrip("/")
    if "@" in rest.partition("/")[0]:
        problem = "has a user or a password before the '@', and settings are kept with a run"
        raise ConfigError(where or f"{protocol}://…", problem, "Leave them to the environment")
    if protocol == "file":
        return Path(f"/{rest.partition('/')[2]}")
    if protocol not in PROTOCOLS or not rest:
        known = ", ".join(f"{each}://" for each in ("file", *PROTOCOLS))
        raise ConfigError(where or str(text), f"is no place that is known here, got '{text}'", f"Known: {known}")
    from upath import UPath

    found_place: AnyPath = UPath(f"{protocol}://{rest}", use_listings_cache=False, **PROTOCOLS[protocol]())
    return found_place


def join_path(folder: AnyPath, text: str) -> AnyPath:
    """A place that is named relative to a folder, or by itself."""
    return to_path(text) if is_url(text) else folder / text


def list_once(folder: AnyPath) -> AnyPath:
    """List a folder with all below it; what is asked of the place that is returned is answered from that list.

    So ten thousand scans cost one listing, not a request each. What comes and goes later is not seen.
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
    """Whether a file or folder is there."""
    with storage_errors(path):
        return path.exists()


def matching(folder: AnyPath, pattern: str) -> list[AnyPath]:
    """What matches a pattern in a folder, in the order of the names."""
    with storage_errors(folder):
        found: Iterable[AnyPath] = list(folder.glob(pattern))
    return sorted(found, key=lambda path: tuple(path.parts))


def relative_path(folder: AnyPath, path: AnyPath) -> str:
    """Where something lies in a folder, with slashes."""
    return path.relative_to(str(folder)).as_posix()


@contextmanager
def storage_errors(path: AnyPath) -> Iterator[None]:
    """Turn what storage raises into WorkError; nothing but requests to it may stand inside.

    A file that is not there stays FileNotFoundError, and what a disk raises stays as it is.
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
    """Whether an error comes of object storage: of the libraries that talk to it, or of reading files at a URL."""
    of_library = type(error).__module__.partition(".")[0] in ("aiobotocore", "aiohttp", "botocore", "gcsfs")
    return of_library or (isinstance(error, OSError) and is_url(where))


def storage_failure(path: AnyPath | str, error: Exception) -> WorkError:
    """What to tell of storage that fails for good."""
    reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
    remedy = "Check the network, the bucket and its permissions, and the credentials; the same command goes on"
    return WorkError(str(path), f"the storage fails for good: {reason}", remedy)


def read_bytes(path: AnyPath) -> bytes:
    """A file whole, in one request."""
    if isinstance(path, Path):
        return path.read_bytes()
    with storage_errors(path):
        content: bytes = path.fs.cat_file(path.path)
    return content


def read_start(path: AnyPath, count: int) -> bytes:
    """The first bytes of a file, at most `count`."""
    if isinstance(path, Path):
        with path.open("rb") as file:
            return file.read(count)
    with storage_errors(path):
        try:
            content: bytes = path.fs.cat_file(path.path, start=0, end=count)
        except OSError as error:
            if error.errno != errno.EINVAL:  # no byte of an empty file can be asked for
                raise
            content = path.fs.cat_file(path.path)
    return content


def size_of(path: AnyPath) -> int:
    """Bytes of a file."""
    if isinstance(path, Path):
        return path.stat().st_size
    with storage_errors(path):
        return int(path.fs.size(path.path))


def read_ranges(path: "UPath", ranges: Sequence[tuple[int, int]]) -> list[bytes]:
    """The bytes from each start to each end, all asked for at once."""
    starts, ends = [start for start, _ in ranges], [end for _, end in ranges]
    with storage_errors(path):
        found: list[bytes] = path.fs.cat_ranges([path.path] * len(ranges), starts, ends, on_error="raise")
    return found


def as_file(path: AnyPath) -> Path | BytesIO:
    """What a library reads a file from: its path, or the bytes of what lies in storage."""
    return path if isinstance(path, Path) else BytesIO(read_bytes(path))


@contextmanager
def local_copy(path: AnyPath) -> Iterator[Path]:
    """A file or folder as a path of this machine, for what reads nothing else; for the time of the block."""
    if isinstance(path, Path):
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="voxray_") as folder:
        copy = Path(folder, path.name)
        with storage_errors(path):
            path.fs.get(path.path, str(copy), recursive=path.is_dir())
        yield copy


def upload(local: Path, path: "UPath") -> None:
    """Put a file, or a folder with all below it; a file appears whole or not at all."""
    with storage_errors(path):
        folder = "/" if local.is_dir() else ""
        path.fs.put(f"{local}{folder}", f"{path.path}{folder}", recursive=local.is_dir())


@contextmanager
def folder_to_fill(path: AnyPath) -> Iterator[Path]:
    """A folder of this machine for the time of the block; what lies in it then is put where it belongs."""
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
    """Remove a folder with all below it, where there is one."""
    if isinstance(path, Path):
        shutil.rmtree(path, ignore_errors=True)
        return
    with storage_errors(path):
        if path.is_dir():
            path.fs.rm(path.path, recursive=True)


def _s3() -> dict[str, Any]:
    # Both have names by which botocore's users set them.
    retries = {
        "mode": os.environ.get("AWS_RETRY_MODE", "standard"),
        "total_max_attempts": int(os.environ.get("AWS_MAX_ATTEMPTS", ATTEMPTS)),
    }
    # One request for a file: s3fs would ask for its size before, to fetch large ones in parts.
    return {"max_concurrency": 1, "config_kwargs": {"retries": retries, "max_pool_connections": CONNECTIONS}}


PROTOCOLS = {"s3": _s3, "gs": dict}
