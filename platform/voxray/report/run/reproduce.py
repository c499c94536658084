"""How to repeat a run: its settings as a TOML file, without saying where things lay on the disk."""

import json
import re
from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from voxray.config.experiment import Experiment
from voxray.config.load import PATH_KEYS
from voxray.report.run.contents import RunContents

ELSEWHERE = "…/"
_ABSOLUTE = re.compile(r"(?<![\w.…/:])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\":,;]+[/\\])+([^\s/\\'\":,;]*)")


def settings_text(experiment: Experiment) -> str:
    """The resolved experiment as TOML. Of a path only its end is told, after ``…/``."""
    values = experiment.model_dump(mode="json", exclude_none=True)
    for *parents, last in PATH_KEYS:
        table = values
        for parent in parents:
            table = table[parent]
        if last in table:
            table[last] = ELSEWHERE + PurePath(table[last]).name
    return _toml(values)


def hide_paths(text: str, experiment: Experiment) -> str:
    """A text with paths relative to the data root, and only the end of any other absolute path."""
    for known in (experiment.data.root, experiment.out):
        text = text.replace(known.rstrip("/") + "/", "")
    return shorten_paths(text)


def shorten_paths(text: str) -> str:
    """A text with only the end of any absolute path."""
    return _ABSOLUTE.sub(rf"{ELSEWHERE}\1", text)


def command_lines(name: str, segments: bool = False) -> list[tuple[str, str]]:
    """Commands and what each does; `name` is the experiment's, `segments` whether it trains a segmentation."""
    file = f"{name}.toml"
    loose = [("voxray predict RUN SCAN… --out DIR", "label maps of other scans, with the folder of this run as RUN")]
    return [
        (f"voxray run {file}", "ingest, train, evaluate and report; what is finished is reused"),
        (f"voxray run {file} --no-ray", "the same in one process, without Ray"),
        (f"voxray report {file}", "this page again"),
        *(loose if segments else []),
    ]


def identity_rows(run: RunContents) -> list[tuple[str, str]]:
    """What names the run: seed, store and programs."""
    info = run.store.info
    rows = [
        ("Seed", str(run.experiment.seed)),
        ("Store recipe", info.digest),
        ("Data list", str(info.provenance.get("manifest", ""))),
        ("Patches", f"{' × '.join(map(str, info.size))} voxels, {info.channels} × {info.dtype}"),
    ]
    return [*((name, value) for name, value in rows if value), *sorted(run.versions.items())]


def _toml(values: Mapping[str, Any], prefix: str = "") -> str:
    # JSON writes strings, numbers, booleans and lists as TOML does.
    plain = [
        f"{key} = {json.dumps(value, ensure_ascii=False)}"
        for key, value in values.items()
        if not isinstance(value, dict)
    ]
    parts = ["\n".join(plain)] if plain else []
    for key, value in values.items():
        if isinstance(value, dict):
            parts.append(f"[{prefix}{key}]\n{_toml(value, f'{prefix}{key}.')}".rstrip())
    return "\n\n".join(parts)
