"""The records of finished stages, in ``stages.json``: with which inputs they ran, and which files they wrote."""

import json
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from voxray.errors import StoreError
from voxray.storage.paths import AnyPath, read_bytes, stays_below
from voxray.storage.states import file_states, is_same

UNKNOWN = ""  # the state of a file that a later stage is about to write again


@dataclass(frozen=True)
class StageRecord:
    """A finished stage.

    Attributes
    ----------
    key : str
        Names everything that the stage depended on.
    seconds : float
    files : mapping
        Path of each file that it wrote, relative to the run's folder → the state of the file.
    """

    key: str
    seconds: float
    files: Mapping[str, str]


def read_records(path: AnyPath) -> dict[str, StageRecord]:
    """The record of each finished stage; those that cannot be read count as absent.

    Raises
    ------
    StoreError
        One names a file outside of the run's folder.
    """
    records: dict[str, StageRecord] = {}
    for stage, content in read_state(path).items():
        try:
            records[stage] = TypeAdapter(StageRecord).validate_python(content)
        except ValidationError:
            continue
        if outside := next((name for name in records[stage].files if not stays_below(name)), None):
            problem = f"{stage}: expected files inside the run's folder, got {outside!r:.200}"
            raise StoreError(str(path), problem, "Remove this file, and run voxray run to make the results again")
    return records


def describe_damage(folder: AnyPath, record: StageRecord) -> str:
    """The files of a stage that are missing or not those that it wrote, in words; empty where there are none."""
    states = file_states(folder, record.files)
    problems = [
        f"{name} is {'damaged' if name in states else 'missing'}"
        for name, state in record.files.items()
        if name not in states or (state != UNKNOWN and not is_same(states[name], state))
    ]
    more = f" ({len(problems) - 1} more files too)" if len(problems) > 1 else ""
    return f"{problems[0]}{more}" if problems else ""


def read_state(path: AnyPath) -> dict[str, Any]:
    """The JSON object in a file of a run's state; empty if it is missing or cannot be read."""
    return _read_object(path) or {}


def is_readable(path: AnyPath) -> bool:
    """Whether a file holds a JSON object, which may be empty."""
    return _read_object(path) is not None


def _read_object(path: AnyPath) -> dict[str, Any] | None:
    try:
        content = json.loads(read_bytes(path))
    except (OSError, ValueError, RecursionError):
        return None
    return content if isinstance(content, dict) else None
