"""What the commands of a scene left behind, without what differs from one time to the next."""

import csv
import json
import re
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from voxray.runs.folder import RunFolder
from voxray.runs.records import read_state
from voxray.runs.status import read_status

WRITTEN = ("store", "run", "answers", "inspection", "search")
LOCK = ".*.lock"  # beside a folder; its content is for a message only
TIMES = ("seconds", "data_wait_share", "patches_per_s")


def files_of(folder: Path) -> list[str]:
    """The files that commands wrote in the folder of a scene, but for those of killed processes."""
    return [name for name in _all_files(folder) if ".unfinished." not in name]


def results(folder: Path) -> dict[str, Any]:
    """The content of all files but checkpoints: of tables and trials without times, of pages that they are whole.

    A status that was lost is no loss, but one that says that a finished stage still works is wrong.
    """
    found: dict[str, Any] = {}
    for file in _all_files(folder):
        if "/checkpoints/" in file and ".unfinished." not in file:
            continue
        content = _content(folder, file)
        if content != {} or not file.endswith("status.json"):
            found[file] = content
    return found


def compare(expected: dict[str, Any], actual: dict[str, Any]) -> str:
    """In words, the first differences of two results."""
    common = sorted(expected.keys() & actual.keys())
    parts = {
        "missing": sorted(expected.keys() - actual.keys()),
        "different": [name for name in common if expected[name] != actual[name]],
        "left over": sorted(actual.keys() - expected.keys()),
    }
    return "; ".join(f"{word}: {', '.join(names[:4])}" for word, names in parts.items() if names)


def _all_files(folder: Path) -> list[str]:
    paths = (path for top in WRITTEN for path in (folder / top).rglob("*") if path.is_file())
    return sorted(path.relative_to(folder).as_posix() for path in paths if not path.match(LOCK))


def _content(folder: Path, file: str) -> Any:
    path = folder / file
    try:
        return _without_times(folder, path)
    except (ValueError, OSError, KeyError, TypeError) as error:  # a file that cannot be read equals no other
        return repr(error)


def _without_times(folder: Path, path: Path) -> Any:
    match path.name:
        case "status.json":
            stages = read_status(RunFolder(path.parent))
            return {name: stage.state for name, stage in stages.items() if stage.state != "finished"}
        case "stages.json":
            return {name: record["key"] for name, record in read_state(path).items()}
        case "report.html" | "inspection.html":
            return path.read_bytes().rstrip().endswith(b"</html>")
        case "history.parquet":
            return list(map(_without, pq.read_table(path).to_pylist()))
        case "leaderboard.csv":
            return list(map(_without, csv.DictReader(path.read_text().splitlines())))
        case "trial.json":
            content = json.loads(path.read_bytes())
            return content | {"curve": list(map(_without, content["curve"]))}
    content = path.read_bytes()
    # Results of a search name its folder, which differs from case to case.
    place = re.escape(str(folder.parent)).encode() + rb"/[^/\"]+"
    return re.sub(place, b"", content) if path.suffix in (".json", ".toml", ".csv") else content


def _without(row: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key not in TIMES}
