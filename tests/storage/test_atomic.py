from pathlib import Path

import pytest

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


def test_leftovers_of_killed_processes_are_removed_and_nothing_else(tmp_path: Path) -> None:
    write_text(tmp_path / "deep" / "kept.txt", "whole")
    with atomic_write(tmp_path / "deep" / "lost.txt") as unfinished:
        unfinished.write_text("half")
        leftover = unfinished.read_bytes()
    unfinished.write_bytes(leftover)  # as after a kill
    remove_unfinished(tmp_path)
    assert names(tmp_path) == ["kept.txt", "lost.txt"]
