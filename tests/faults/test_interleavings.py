"""Two tasks write one shard, as when Ray takes the first one for lost: no row is lost, and no files are mixed.

Both have the same process id and host, as in two containers. The first one waits at one of its writes, while the
second one does all of its work; then the first one goes on.
"""

import socket
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from faults.driver import PAUSE, WRITE_SHARD
from faults.matrix import Lab
from faults.processes import Ended
from faults.results import compare, files_of, results
from faults.scenes import STAGES

IDS = {"process": 7, "host": socket.gethostname()}
SHARDS = {"ingest": ("val", "0"), "ingest-masks": ("train", "1")}  # the first one has a scan that cannot be read


def begun(lab: Lab, stage: str, name: str) -> Path:
    """A store without the shard of `SHARDS`, whose ingest was killed."""
    folder = lab.copy(lab.before(stage), name)
    first = shard_writes(lab, stage)[0]
    lab.drivers.run(folder, STAGES[stage].command, {"moment": "before", "file": first, "write": 1})
    assert not (folder / first).exists()
    return folder


def shard_writes(lab: Lab, stage: str) -> list[str]:
    """The files that the task of a shard writes."""
    split, number = SHARDS[stage]
    _, ended = lab.after(stage)
    of_arrays = tuple(f"store/{split}/{array}/c/{number}/" for array in ("image", "label"))
    of_parts = f"store/parts/{split}-{int(number):06d}."
    return [file for file in ended.writes if file.startswith((*of_arrays, of_parts))]


def overtaken(lab: Lab, folder: Path, stage: str, file: str, command: Sequence[str]) -> tuple[Ended, Ended]:
    """Run the task of a shard until it writes a file, then a command, then the rest of the task."""
    task = [WRITE_SHARD, "store", "data", *SHARDS[stage]]
    until = folder.with_name(f"{folder.name}.go_on")
    fault = {"moment": PAUSE, "file": file, "write": 1, "until": str(until)}
    ended: dict[str, Any] = {}

    def run_task() -> None:
        ended["task"] = lab.drivers.run(folder, task, fault, ids=IDS, name="task")

    thread = threading.Thread(target=run_task)
    thread.start()
    while not until.with_suffix(".paused").exists():
        assert thread.is_alive()
    try:
        other = lab.drivers.run(folder, command, ids=IDS)
    finally:
        until.touch()
        thread.join()
    return ended["task"], other


@pytest.mark.parametrize("stage", SHARDS)
def test_two_tasks_of_one_shard_lose_no_row_and_mix_no_files(lab: Lab, stage: str) -> None:
    for number, file in enumerate(shard_writes(lab, stage)):
        folder = begun(lab, stage, f"tasks_{stage}_{number}")
        task, other = overtaken(lab, folder, stage, file, [WRITE_SHARD, "store", "data", *SHARDS[stage]])
        assert (task.code, other.code) == (0, 0), (file, task.err, other.err)
        ended = lab.drivers.run(folder, STAGES[stage].command)
        assert ended.code == 0, ended.err
        assert compare(lab.expected(stage), results(folder)) == "", file


@pytest.mark.parametrize("is_done", [False, True])
@pytest.mark.parametrize("stage", SHARDS)
def test_a_stale_task_does_not_write_into_a_finished_store(lab: Lab, stage: str, is_done: bool) -> None:
    for number, file in enumerate(shard_writes(lab, stage)):
        name = f"stale_{is_done}_{stage}_{number}"
        folder = lab.copy(lab.middle(stage), name) if is_done else begun(lab, stage, name)
        task, other = overtaken(lab, folder, stage, file, STAGES[stage].command)
        assert other.code == 0, (file, other.err)
        assert task.code in (0, 1, 99), task.err
        assert compare(lab.expected(stage), results(folder)) == "", file
        assert not any("parts" in name for name in files_of(folder)), file
