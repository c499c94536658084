import errno
from pathlib import Path

import pytest

from voxray.errors import WorkError
from voxray.storage.locks import locked


def test_a_link_has_the_lock_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "real" / "store").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "real" / "store")
    (tmp_path / "parent").symlink_to(tmp_path / "real")
    for other in (tmp_path / "link", tmp_path / "parent" / "store"):
        with (
            locked(tmp_path / "real" / "store"),
            pytest.raises(WorkError, match="is being written by another process"),
            locked(other),
        ):
            pass
        with locked(other):
            pass
    assert [path.name for path in tmp_path.rglob("*.lock")] == [".store.lock"]


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EROFS])
def test_without_a_lock_a_folder_that_cannot_be_written_is_read_but_not_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(number, "no writing here")

    monkeypatch.setattr(Path, "open", refuse)
    problem = r"store: cannot be locked: its lock file \S+/\.store\.lock cannot be written: no writing here\. Choose a"
    with pytest.raises(WorkError, match=problem), locked(tmp_path / "store"):
        pass
    with locked(tmp_path / "store", must_write=False):
        done = True
    assert done


def test_a_lock_that_others_hold_is_respected_by_those_that_only_read(tmp_path: Path) -> None:
    folder = tmp_path / "x"
    with locked(folder), pytest.raises(WorkError, match="another process"), locked(folder, must_write=False):
        pass
