"""Files with fixed names as attributes of the class of their folder."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from voxray.storage.atomic import remove_unfinished
from voxray.storage.locks import locked
from voxray.storage.paths import AnyPath

AnyPathT = TypeVar("AnyPathT", bound=AnyPath)


class File(Generic[AnyPathT]):
    """A file with a fixed name in the folder `path` of the object that has this attribute.

    Of a folder with a fixed name, `pattern` matches the files in it.
    """

    def __init__(self, name: str, pattern: str = "") -> None:
        self.name = name
        self.pattern = pattern or name

    def __get__(self, folder: Any, owner: type) -> AnyPathT:
        file: AnyPathT = folder.path / self.name
        return file


class Files(Generic[AnyPathT]):
    """A function of one name, such as that of a split, whose file has `name` with ``*`` replaced by it."""

    def __init__(self, name: str) -> None:
        self.pattern = name

    def __get__(self, folder: Any, owner: type) -> Callable[[str], AnyPathT]:
        def file(name: str) -> AnyPathT:
            path: AnyPathT = folder.path / self.pattern.replace("*", name)
            return path

        return file


class Folder:
    """A folder whose files are attributes of its class."""

    path: AnyPath

    @classmethod
    def patterns(cls) -> tuple[str, ...]:
        """Glob patterns of all files that the folder can have, relative to it."""
        return tuple(entry.pattern for entry in vars(cls).values() if isinstance(entry, File | Files))

    def remove_unfinished(self) -> None:
        """Remove what killed processes left half-written, in this folder and in those of its files."""
        for parent in {pattern.rpartition("/")[0] for pattern in self.patterns()}:
            remove_unfinished(self.path, f"{parent}/" if parent else "")

    @contextmanager
    def locked(self, *, must_write: bool = True) -> Iterator[None]:
        """Hold the lock of the folder for the time of the block, after what killed processes left is removed."""
        with locked(self.path, must_write=must_write):
            self.remove_unfinished()
            yield
