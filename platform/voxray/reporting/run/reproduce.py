"""How to reproduce a run: its settings as TOML, without the folders of this machine."""

import re
from pathlib import PurePath

import tomli_w

from voxray.config.experiment import Experiment
from voxray.config.load import PATH_KEYS
from voxray.reporting.run.contents import RunContents

ELSEWHERE = "…/"
_ABSOLUTE = re.compile(r"(?<![\w.…/:])(?:[A-Za-z]:)?[/\\](?:[^\s/\\'\":,;]+[/\\])+([^\s/\\'\":,;]*)")


def settings_text(experiment: Experiment) -> str:
    """The resolved experiment as TOML; a path is reduced to ``…/`` and its end, with a key of pseudonyms to ``…/``."""
    values = experiment.model_dump(mode="json", exclude_none=True)
    for key in PATH_KEYS:
        parent, _, last = key.rpartition(".")
        table = values[parent] if parent else values
        if last in table:
            table[last] = ELSEWHERE + ("" if experiment.privacy.has_key else PurePath(table[last]).name)
    # Lists on one line: no string of TOML contains a line break.
    text = re.sub(r"(?<=\[)\n\s+|,\n\s*(?=\])", "", tomli_w.dumps(values))
    return re.sub(r",\n\s+", ", ", text).rstrip()


def hide_paths(text: str, experiment: Experiment) -> str:
    """A text with paths relative to the data root, and other absolute paths reduced to their end."""
    for folder in (experiment.data.root, experiment.out):
        text = text.replace(folder.rstrip("/") + "/", "")
    return shorten_paths(text)


def shorten_paths(text: str) -> str:
    """A text with absolute paths reduced to their end."""
    return _ABSOLUTE.sub(rf"{ELSEWHERE}\1", text)


def command_lines(name: str, segments: bool = False) -> list[tuple[str, str]]:
    """Commands and what each does; `name` is the experiment's, `segments` whether it trains a segmentation."""
    file = f"{name}.toml"
    predict = [("voxray predict RUN SCAN… --out DIR", "segment other scans, with the folder of this run as RUN")]
    return [
        (f"voxray run {file}", "ingest, train, evaluate and report; finished stages are reused"),
        (f"voxray run {file} --no-ray", "the same in one process, without Ray"),
        (f"voxray report {file}", "write this page again"),
        *(predict if segments else []),
    ]


def identity_rows(run: RunContents) -> list[tuple[str, str]]:
    """The identity of the run: seed, store and package versions."""
    info = run.store.info
    rows = [
        ("Seed", str(run.experiment.seed)),
        ("Store digest", info.digest),
        ("Manifest digest", str(info.provenance.get("manifest", ""))),
        ("Patches", f"{' × '.join(map(str, info.size))} voxels, {info.channels} × {info.dtype}"),
    ]
    return [*((name, value) for name, value in rows if value), *sorted(run.versions.items())]
