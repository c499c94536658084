"""A power cut takes what is not flushed: each file is flushed before it gets its name, and its folder after that."""

from pathlib import PurePosixPath

import pytest
from faults.matrix import Lab


@pytest.mark.parametrize("name", ["ingest", "evaluate", "run", "predict-masks", "inspect", "tune"])
def test_each_file_is_flushed_before_it_gets_its_name_and_its_folder_after_that(lab: Lab, name: str) -> None:
    _, ended = lab.after(name)
    assert ended.writes
    for thread in {event[-1] for event in ended.events}:
        events = [event for event in ended.events if event[-1] == thread]
        for number, event in enumerate(events):
            if event[0] == "rename":
                _, unfinished, file, _ = event
                assert events[number - 1][:2] == ("flush", unfinished), file
                assert events[number + 1][:2] == ("flush", str(PurePosixPath(file).parent)), file
