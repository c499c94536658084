import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from voxray.errors import NotReadyError, StoreError, WorkError
from voxray.runs import status
from voxray.runs.folder import RunFolder
from voxray.runs.status import SILENT_S, StageStatus, confirm_finished, heartbeat, read_status, status_lines


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def lines(run: Path, later_s: float = 0) -> list[str]:
    """What the status says, without how long anything took."""
    return [re.sub(r"\b(for|after) [\d.]+ s\b", r"\1 T", line) for line in status_lines(run, time.time() + later_s)]


def wait_until(true: Callable[[], bool], timeout_s: float = 30) -> None:
    until = time.monotonic() + timeout_s
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)


def test_a_working_stage_can_be_watched(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "BEAT_S", 0.01)
    with heartbeat(folder, "train", "steps") as tell:
        wait_until(lambda: "train" in read_status(folder))
        assert lines(folder.path) == ["train: working for T, starting"]
        tell(10, 1000, "epoch 1/20")
        time.sleep(0.01)
        tell(30, 1000, "epoch 1/20, val loss 0.400")
        wait_until(lambda: read_status(folder)["train"].done == 30)
        (line,) = lines(folder.path)
        assert line.startswith("train: working for T, 30 of 1,000 steps, ")
        assert " steps/s, " in line
        assert line.endswith(" left · epoch 1/20, val loss 0.400")
    assert lines(folder.path, later_s=1e6) == [
        "train: finished after T, 30 of 1,000 steps · epoch 1/20, val loss 0.400"
    ]


def test_a_stage_beats_while_nothing_moves(folder: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "BEAT_S", 0.01)
    with heartbeat(folder, "ingest", "shards"):
        wait_until(folder.status.exists)
        first = read_status(folder)["ingest"].seen
        wait_until(lambda: read_status(folder)["ingest"].seen > first)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (WorkError("evaluate", "a task failed", "Try again"), "failed after T, starting · evaluate: a task failed."),
        (ValueError(), "failed after T, starting · ValueError"),
        (KeyboardInterrupt(), "interrupted after T, starting"),
    ],
)
def test_a_stage_that_ended_badly_says_how(folder: RunFolder, error: BaseException, words: str) -> None:
    with pytest.raises(type(error)), heartbeat(folder, "evaluate", "steps"):
        raise error
    (line,) = lines(folder.path)
    assert line.startswith(f"evaluate: {words}")


def test_a_stage_that_was_killed_falls_silent_and_its_age_is_printed(folder: RunFolder) -> None:
    with heartbeat(folder, "train", "steps") as tell:
        tell(5, 10, "")
    ended = read_status(folder)["train"]
    killed = replace(ended, state="working", process=123, host="node7")
    folder.status.write_text(json.dumps({"train": vars(killed)}))
    assert status_lines(folder.path, killed.seen + SILENT_S)[0].startswith("train: working")
    assert status_lines(folder.path, killed.seen + 720) == [
        "train: silent, 5 of 10 steps · no update from process 123 on node7 for 12 min. If it ended, "
        "re-run the same command to resume"
    ]


def test_a_stage_that_begins_again_forgets_those_that_build_on_it(folder: RunFolder) -> None:
    for stage in ("ingest", "train", "evaluate", "report", "verify"):
        with heartbeat(folder, stage, "steps"):
            pass
    assert list(read_status(folder)) == ["ingest", "train", "evaluate", "report", "verify"]
    with heartbeat(folder, "train", "steps"):
        pass
    assert list(read_status(folder)) == ["ingest", "verify", "train"]


def test_folds_are_listed_under_their_run(folder: RunFolder) -> None:
    with heartbeat(folder, "folds", "folds") as tell:
        for number in range(2):
            with heartbeat(RunFolder(folder.path / f"fold_{number}"), "train", "steps"):
                pass
            tell(number + 1, 2, "")
    names = [line.split(": ")[:-1] for line in lines(folder.path)]
    assert names == [["folds"], ["fold_0", "train"], ["fold_1", "train"]]


def test_a_status_that_cannot_be_written_stops_no_work(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with heartbeat(RunFolder(tmp_path / "file" / "run"), "train", "steps") as tell:
        tell(1, 1, "")
    assert read_status(RunFolder(tmp_path / "file")) == {}


def test_a_folder_without_a_status_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(NotReadyError, match="no stage was started in this folder"):
        status_lines(tmp_path, 0.0)


def test_a_status_survives_the_way_through_its_file(folder: RunFolder) -> None:
    with heartbeat(folder, "train", "steps") as tell:
        tell(1, 2, "é · ü")
    assert read_status(folder) == {"train": StageStatus(**json.loads(folder.status.read_text())["train"])}
    assert read_status(folder)["train"].text == "é · ü"


SOUND = {
    "state": "working",
    "done": 1,
    "total": 2,
    "unit": "steps",
    "rate": 0.5,
    "left_s": None,
    "text": "",
    "began": 1.0,
    "seen": 2.0,
    "process": 3,
    "host": "h",
    "error": "",
}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"{",
        b"[]",
        b"[" * 100_000,
        b'{"train": null}',
        *(
            json.dumps({"train": {**SOUND, name: value}}).encode()
            for name in SOUND
            for value in ([], {}, None, "x", -1e400)
            if (name, value) != ("left_s", None) and (name not in ("unit", "text", "host", "error") or value != "x")
        ),
    ],
)
def test_no_status_stops_a_stage_whatever_it_holds(folder: RunFolder, content: bytes) -> None:
    folder.path.mkdir()
    folder.status.write_bytes(content)
    assert read_status(folder) == {}
    with pytest.raises(StoreError, match=r"status\.json: cannot be read\. The next stage"):
        status_lines(folder.path, 3.0)
    with heartbeat(folder, "evaluate", "steps") as tell:
        tell(1, 1, "")
    assert list(read_status(folder)) == ["evaluate"]


def test_a_folder_in_place_of_the_status_stops_no_stage(folder: RunFolder) -> None:
    folder.status.mkdir(parents=True)
    with heartbeat(folder, "evaluate", "steps") as tell:
        tell(1, 1, "")
    assert read_status(folder) == {}


def test_the_status_of_a_reused_stage_is_corrected_where_its_process_was_killed(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with heartbeat(folder, "train", "steps") as on_progress:
        on_progress(3, 4, "")
    stages = json.loads(folder.status.read_text())
    folder.status.write_text(json.dumps({"train": {**stages["train"], "state": "working"}}))
    confirm_finished(folder, "train")
    assert read_status(folder)["train"].state == "finished"
    assert "finished" in status_lines(tmp_path, time.time() + 2 * SILENT_S)[0]
    confirm_finished(folder, "evaluate")
    assert list(read_status(folder)) == ["train"]
