"""Experiment files, and settings of the command line."""

import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tomli_w
from fuzzing import FIFO, Case, damage, odd_tree

from voxray.config.experiment import Experiment
from voxray.config.load import PATH_KEYS, load_experiment

CONTENT: dict[str, Any] = {
    "name": "small",
    "seed": 3,
    "out": "run",
    "data": {"layout": "luna16", "root": "scans"},
    "split": {"val": 0.25, "test": 0.25},
    "patches": {"size": [16, 16, 6], "spacing_mm": [1.0, 1.0, 2.5], "oversample_rotations": [90, 180]},
    "store": {"chunk_bytes": 12288, "shard_bytes": 49152, "dtype": "int16"},
    "intensity": {"kind": "window", "window": [-1000, 400]},
    "model": {"architecture": "net.json"},
    "training": {"epochs": 2, "batch_size": 16, "learning_rate": 0.001, "class_weights": [1.0, 2.0], "workers": [1, 2]},
    "evaluation": {"overlap": 0.5},
}
TEXT = tomli_w.dumps(CONTENT)


def cases(seed: int) -> Iterator[Case]:
    """Named ones, random bytes and random values."""
    yield replace(_case("nothing wrong", TEXT.encode()), sound=True)
    if seed == 0:
        yield from _named()
    rng = np.random.default_rng(seed)
    for number in range(30):
        yield _case(f"damaged bytes {number}", damage(TEXT.encode(), rng))
    for number in range(60):
        content = odd_tree(CONTENT, rng)
        yield _case(f"odd value {number}", toml(content).encode())


def _named() -> Iterator[Case]:
    for name, text in {
        "nested 5,000 deep": TEXT + f"x = {'[' * 5000}{']' * 5000}",
        "tables nested 5,000 deep": TEXT + f"[{'.'.join('a' * 5000)}]\n",
        "inline tables nested 5,000 deep": TEXT + f"x = {'{a=' * 5000}1{'}' * 5000}",
        "a number of 5,000 digits": TEXT.replace("seed = 3", f"seed = {'9' * 5000}"),
        "a learning rate that is no number": TEXT.replace("0.001", "nan"),
        "an infinite learning rate": TEXT.replace("0.001", "inf"),
        "a window of infinities": TEXT.replace("-1000", "-inf"),
        "a text for an integer": TEXT.replace("epochs = 2", 'epochs = "2"'),
        "a fraction for an integer": TEXT.replace("epochs = 2", "epochs = 2.5"),
        "a flag for an integer": TEXT.replace("epochs = 2", "epochs = true"),
        "a date for a name": TEXT.replace('"small"', "2024-01-01"),
        "a key twice": TEXT.replace("seed = 3", "seed = 3\nseed = 4"),
        "a null byte in a path": TEXT.replace('"scans"', '"sc\\u0000ans"'),
        "a text that is not UTF-8": TEXT + "# \udcff",
        "an empty file": "",
        "a path of 300 letters": TEXT.replace('"scans"', f'"{"x" * 300}"'),
    }.items():
        yield _case(name, text.encode("utf-8", "surrogateescape"))
    yield _case("a seed of 2^63", TEXT.replace("seed = 3", f"seed = {2**63 - 1}").encode())
    yield Case("a FIFO", {"a.toml": FIFO}, _load)
    yield Case("a folder", {"a.toml/b": b""}, _load)
    yield Case("no file", {}, _load)
    for setting in ("....=1", "=", "", "=1", ".=1", "training.=1", ".epochs=1", "training..epochs=1", "training=1"):
        yield _setting(setting)
    for setting in ("name.x=1", "seed=1e400", f"seed={'[' * 5000}", "a\0b=1", "training.epochs", "training.epochs="):
        yield _setting(setting)


def _setting(setting: str) -> Case:
    return Case(
        f"--set {setting:.20}", {"a.toml": TEXT.encode()}, lambda folder: load_experiment(folder / "a.toml", [setting])
    )


def _case(name: str, content: bytes) -> Case:
    return Case(name, {"a.toml": content}, _load, lambda experiment: check_equal(content, experiment))


def _load(folder: Path) -> Experiment:
    return load_experiment(folder / "a.toml")


def check_equal(content: bytes, experiment: Experiment) -> None:
    """What was accepted is what was written."""
    read = json.loads(experiment.model_dump_json())
    for key, value in leaves(tomllib.loads(content.decode())):
        if ".".join(key) in PATH_KEYS:
            continue
        found: Any = read
        for part in key:
            found = found[part]
        if key == ("patches", "size") and len(value) == 2:
            value = [*value, 1]
        assert isinstance(value, bool) == isinstance(found, bool), (key, value, found)
        assert found == value, (key, value, found)


def leaves(tree: Mapping[str, Any], above: Sequence[str] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Key path and value of everything that is no table."""
    for key, value in tree.items():
        if isinstance(value, dict):
            yield from leaves(value, (*above, key))
        else:
            yield (*above, key), value


def toml(value: dict[str, Any]) -> str:
    """As TOML, without what TOML cannot say."""
    try:
        return tomli_w.dumps(_without_none(value))
    except UnicodeEncodeError:
        return ""


def _without_none(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_none(inner) for key, inner in value.items() if inner is not None}
    return [_without_none(inner) for inner in value if inner is not None] if isinstance(value, list) else value
