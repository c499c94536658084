import errno
import os
import shutil
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from voxray.errors import WorkError
from voxray.storage.atomic import atomic_write, remove_unfinished, write_text


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


def test_a_file_has_its_name_only_when_it_is_whole(tmp_path: Path) -> None:
    target = tmp_path / "a" / "x.nii.gz"
    with atomic_write(target) as unfinished:
        unfinished.write_bytes(b"first half")
        assert not target.exists()
        assert unfinished.name.endswith(".nii.gz")  # writers go by the suffix
    assert target.read_bytes() == b"first half"
    assert names(tmp_path) == ["x.nii.gz"]


def test_what_fails_half_way_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "x.json"
    write_text(target, "old é")
    with (
        pytest.raises(UnicodeEncodeError),
        atomic_write(target) as unfinished,
        unfinished.open("w", 1, "ascii") as file,
    ):
        file.write("ne\n" * 5000 + "é")
    assert target.read_text(encoding="utf-8") == "old é"
    assert names(tmp_path) == ["x.json"]


def test_the_mode_of_a_file_follows_the_umask_whatever_its_writer_does(tmp_path: Path) -> None:
    for umask, mode in ((0o022, 0o644), (0o027, 0o640), (0o002, 0o664)):
        before = os.umask(umask)
        try:
            with atomic_write(tmp_path / "new" / f"{umask}.safetensors") as unfinished:
                save_file({"weight": torch.zeros(2)}, unfinished)  # by itself of mode 600
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "new" / f"{umask}.safetensors").stat().st_mode) == mode


def test_file_and_folder_are_on_the_disk_before_and_after_the_file_has_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor: int) -> None:
        events.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def rename(source: Path, target: Path) -> Path:
        events.append("renamed")
        return replace(source, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    write_text(tmp_path / "a" / "b" / "x.json", "text")
    assert events[0].startswith(".unfinished")
    assert events[1:] == ["renamed", "b"]


def test_two_processes_of_equal_ids_write_into_files_of_their_own(tmp_path: Path) -> None:
    target = tmp_path / "x.txt"
    with atomic_write(target) as first, atomic_write(target) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert target.read_text(encoding="utf-8") == "first"
    assert names(tmp_path) == ["x.txt"]


@pytest.mark.parametrize("name", ["x" * 240 + ".nii.gz", "é" * 120 + ".nii.gz"])
def test_long_names_can_be_written(tmp_path: Path, name: str) -> None:
    with atomic_write(tmp_path / name) as unfinished:
        unfinished.write_bytes(b"voxels")
        assert unfinished.name.endswith(".nii.gz")
    assert names(tmp_path) == [name]


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.ENOSPC, r"the disk is full \(No space left on device\)\. Free some space, then re-run the same command"),
        (errno.EIO, r"cannot be written: Input/output error\. Check the disk, then re-run the same command"),
    ],
)
def test_a_disk_that_fails_is_one_line_with_the_files_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, words: str
) -> None:
    def fsync(descriptor: int) -> None:
        raise OSError(number, os.strerror(number))

    target = tmp_path / "x.json"
    write_text(target, "old")
    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(WorkError, match=rf"x\.json: {words}"):
        write_text(target, "new")
    assert target.read_text(encoding="utf-8") == "old"
    assert names(tmp_path) == ["x.json"]


def test_a_folder_that_is_removed_during_a_write_is_named(tmp_path: Path) -> None:
    target = tmp_path / "run" / "x.json"
    with pytest.raises(WorkError, match="its folder was removed while it was being written"), atomic_write(target):
        shutil.rmtree(target.parent)


def leftover(folder: Path, host: str, process: int, age_s: float = 0) -> Path:
    """An unfinished file of a process."""
    file = folder / f".unfinished.{host}.{process}.0.x.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(b"half")
    os.utime(file, (time.time() - age_s,) * 2)
    return file


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    write_text(tmp_path / "deep" / "kept.txt", "whole")
    here = socket.gethostname()
    dead, old = leftover(tmp_path / "deep", here, ended.pid), leftover(tmp_path, "elsewhere", 1, age_s=4000)
    own, other = leftover(tmp_path, here, os.getpid()), leftover(tmp_path / "deep", "elsewhere", ended.pid)
    remove_unfinished(tmp_path)
    assert not dead.exists()
    assert not old.exists()
    assert own.exists()
    assert other.exists()
    assert (tmp_path / "deep" / "kept.txt").exists()
