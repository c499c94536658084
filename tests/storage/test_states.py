import os
from pathlib import Path

import pytest
from s3_server import S3

from voxray.storage.atomic import write_text
from voxray.storage.states import file_states, is_same

NAMES = ("a.txt", "deep/b.txt", "deep/absent.txt")


def test_a_state_changes_with_the_content_alone(tmp_path: Path) -> None:
    for name in NAMES[:2]:
        write_text(tmp_path / name, "text")
    before = file_states(tmp_path, NAMES)
    assert list(before) == list(NAMES[:2])
    os.utime(tmp_path / "a.txt", (1, 1))
    assert file_states(tmp_path, NAMES) == before
    write_text(tmp_path / "a.txt", "tent")
    after = file_states(tmp_path, NAMES)
    assert not is_same(after["a.txt"], before["a.txt"])
    assert is_same(after["deep/b.txt"], before["deep/b.txt"])


def test_in_storage_a_state_takes_one_listing_of_a_folder(s3: S3) -> None:
    folder = s3.new_folder()
    for name in NAMES[:2]:
        write_text(folder / name, "text")
    s3.requests.clear()
    before = file_states(folder, NAMES)
    assert len(s3.requests) <= 3
    assert list(before) == list(NAMES[:2])
    write_text(folder / "a.txt", "tent")
    after = file_states(folder, NAMES)
    assert not is_same(after["a.txt"], before["a.txt"])
    assert after["deep/b.txt"] == before["deep/b.txt"]


@pytest.mark.parametrize(
    ("state", "earlier", "same"),
    [
        ("4 xxh3 aa", "4 xxh3 aa", True),
        ("4 xxh3 aa", "4 xxh3 bb", False),
        ('4 etag "cc"', "4 xxh3 aa", True),  # a copy between a disk and object storage
        ('5 etag "cc"', "4 xxh3 aa", False),
        ("4 xxh3 aa", "", False),
        ("4 xxh3 aa", "damaged", False),
    ],
)
def test_states_of_a_disk_and_of_storage_compare_by_their_size(state: str, earlier: str, same: bool) -> None:
    assert is_same(state, earlier) == same
