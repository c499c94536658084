import io
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from s3_server import S3

from voxray.errors import ConfigError, WorkError
from voxray.storage.atomic import atomic_write, remove_unfinished, write_json
from voxray.storage.locks import locked
from voxray.storage.paths import (
    as_file,
    is_url,
    list_once,
    local_copy,
    matching,
    read_bytes,
    read_start,
    relative_path,
    remove_folder,
    size_of,
    stays_below,
    to_path,
    upload,
)


def test_paths_and_file_urls_are_paths() -> None:
    assert to_path("a/b") == Path("a/b")
    assert to_path("file:///data/a b") == Path("/data/a b")
    assert to_path(Path("/x")) == Path("/x")
    assert not is_url("/x/s3://y")


def test_a_url_is_joined_and_written_as_it_was_given() -> None:
    folder = to_path("s3://bucket/some/folder/")
    assert str(folder / "a" / "b.mhd") == "s3://bucket/some/folder/a/b.mhd"
    assert not isinstance(folder, Path)


@pytest.mark.parametrize("text", ["ftp://host/file", "http://host/file", "s3://", "s4://bucket/x"])
def test_other_protocols_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match=r"Use one of file://, s3://, gs://"):
        to_path(text, "out")


@pytest.mark.parametrize("text", ["s3://me:pass-word@bucket/x", "S3://me@bucket/x", "https://a:pass-word@host/"])
def test_credentials_in_a_url_are_refused_without_repeating_them(text: str) -> None:
    with pytest.raises(ConfigError) as raised:
        to_path(text)
    assert "pass-word" not in str(raised.value)
    assert "environment" in str(raised.value)


def test_an_at_sign_in_a_name_is_no_user() -> None:
    assert str(to_path("s3://bucket/scan@home.mhd")) == "s3://bucket/scan@home.mhd"


def test_files_in_storage_are_read_and_written_whole(s3: S3, tmp_path: Path) -> None:
    folder = s3.new_folder()
    write_json(folder / "a" / "b.json", [1])
    assert read_bytes(folder / "a" / "b.json") == b"[\n  1\n]\n"
    assert read_start(folder / "a" / "b.json", 3) == b"[\n "
    assert size_of(folder / "a" / "b.json") == 8
    assert isinstance(as_file(folder / "a" / "b.json"), io.BytesIO)
    with local_copy(folder) as copy:
        assert (copy / "a" / "b.json").read_text() == "[\n  1\n]\n"
        kept = copy
    assert not kept.exists()
    (tmp_path / "up" / "deep").mkdir(parents=True)
    (tmp_path / "up" / "deep" / "c").write_text("c")
    upload(tmp_path / "up", folder / "up")
    assert read_bytes(folder / "up" / "deep" / "c") == b"c"
    remove_folder(folder)
    remove_folder(folder)
    assert not folder.exists()


def test_the_start_of_an_empty_file_is_empty(s3: S3) -> None:
    file = s3.new_folder() / "empty"
    file.write_bytes(b"")
    assert read_start(file, 10) == b""


def test_a_file_whose_writing_fails_does_not_appear(s3: S3) -> None:
    file = s3.new_folder() / "a.txt"
    with pytest.raises(TypeError), atomic_write(file) as unfinished:
        unfinished.write_text(b"no text")  # type: ignore[arg-type]
    s3.fault = lambda method, path: 500 if method == "PUT" else None
    with pytest.raises(WorkError, match="object storage failed"), atomic_write(file) as unfinished:
        unfinished.write_text("whole")
    s3.reset()
    assert not file.exists()


def test_a_listed_folder_is_asked_for_no_more(s3: S3, tmp_path: Path) -> None:
    for number in range(40):
        (tmp_path / "in" / f"{number % 4}").mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / f"{number % 4}" / f"{number:02d}.mhd").write_text("x" * number)
    folder = list_once(s3.put_folder(tmp_path / "in"))
    assert len(s3.requests) == 1
    found = matching(folder, "*/*.mhd")
    assert [relative_path(folder, path) for path in found][:2] == ["0/00.mhd", "0/04.mhd"]
    assert all(path.is_file() and size_of(path) == int(path.stem) for path in found)
    assert not (folder / "0" / "41.mhd").exists()
    assert len(s3.requests) == 1
    (folder / "0" / "41.mhd").write_text("new")
    assert (to_path(str(folder)) / "0" / "41.mhd").exists()
    assert (list_once(folder) / "0" / "41.mhd").exists()


def test_there_are_no_locks_in_storage(s3: S3) -> None:
    folder = s3.new_folder()
    with locked(folder), locked(folder):
        remove_unfinished(folder)
    assert not s3.requests


def test_a_bucket_that_is_not_there_is_said(s3: S3) -> None:
    with pytest.raises(FileNotFoundError):
        read_bytes(to_path("s3://no-such-bucket/x"))


@pytest.mark.parametrize("text", ["a.raw", "b/a.raw", "./a.raw", "..a/b..raw", "ü.raw", "a_{t1,t2}.nii"])
def test_a_relative_path_stays_in_its_folder(text: str) -> None:
    assert stays_below(text)


@pytest.mark.parametrize(
    "text",
    [
        "../a",
        "b/../../a",
        "b/..",
        "..",
        "/a",
        "//x",
        "s3://b/a",
        "file:///a",
        r"..\a",
        "{../a,b}",
        "{/a,b}",
        "b/{.,a}.",
    ],
)
def test_a_path_that_leaves_its_folder_is_found(text: str) -> None:
    assert not stays_below(text)


@pytest.mark.parametrize(("kind", "words"), [("pipe", "a pipe"), ("folder", "a folder"), ("socket", "a socket")])
@pytest.mark.parametrize("read", [read_bytes, size_of, as_file, lambda path: read_start(path, 4)])
def test_a_pipe_socket_or_folder_is_named_and_never_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, words: str, read: Callable[[Path], object]
) -> None:
    path = tmp_path / "a"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    else:
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("a")
    with pytest.raises(OSError, match=f"expected a file, got {words}"):
        read(path)


def test_a_device_is_no_file() -> None:
    with pytest.raises(OSError, match="got a device"):
        read_bytes(Path("/dev/zero"))
