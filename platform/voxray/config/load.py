"""Read an experiment file."""

import json
import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from voxray.config.experiment import Experiment
from voxray.config.parse import parse_json, parse_toml
from voxray.config.validation import describe_problems, shown
from voxray.errors import ConfigError, ConfigFileError, StoreError
from voxray.storage.paths import AnyPath, is_too_long, is_url, read_bytes, to_path

SECRET_NAME = re.compile(r"((^|_)(key|secret|token)|password|passwd|passphrase)(_id)?$", re.IGNORECASE)
PATH_KEYS = ("out", "data.root", "store.path", "model.architecture", "detection.model", "privacy.key_file")


def load_experiment(path: Path, settings: Sequence[str] | Mapping[str, Any] = ()) -> Experiment:
    """Read and check an experiment file.

    Parameters
    ----------
    path : Path
        TOML file.
    settings : sequence of str, or mapping
        ``key.path=value``, whose value is TOML or else plain text; or key path → value, where None is the default.

    Raises
    ------
    ConfigError
        With all problems, each with its key path.
    """
    try:
        raw = parse_toml(read_bytes(path).decode("utf-8"))
    except FileNotFoundError:
        raise ConfigError(str(path), "no such experiment file", "Check the path") from None
    except ValueError as error:
        raise ConfigError(str(path), f"not a TOML file: {error}", "Correct it there") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", "Check the path") from None
    _make_paths_absolute(raw, path.resolve().parent, str(path))
    for key, value in settings.items() if isinstance(settings, Mapping) else map(_parse_setting, settings):
        _apply_setting(raw, key, value)
    try:
        # As JSON: strict mode then accepts lists as tuples, but no text as a number and no flag as an integer.
        return Experiment.model_validate_json(json.dumps(raw, default=str), strict=True)
    except ValidationError as error:
        lines = describe_problems(error, Experiment)
        raise ConfigFileError(str(path), "\n  ".join(["the experiment has problems.", *lines])) from None


def read_experiment(path: AnyPath) -> Experiment:
    """Read back the resolved ``experiment.json`` of a run.

    Raises
    ------
    StoreError
        It is damaged, or was written by another version.
    """
    try:
        return Experiment.model_validate(parse_json(read_bytes(path)))
    except ValueError as error:
        reason = str(error).splitlines()[0]
        problem = f"cannot be read by this version: {reason}"
        raise StoreError(str(path), problem, "Train again, or use the version that wrote it") from None


def _parse_setting(setting: str) -> tuple[str, Any]:
    key, separator, text = setting.partition("=")
    if not separator or not all(part.isidentifier() for part in key.strip().split(".")):
        raise ConfigError(
            "--set", f"expected key.path=value, got {shown(setting)}", "For example --set training.epochs=5"
        )
    try:
        return key.strip(), parse_toml(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), text
    except ValueError as error:
        raise ConfigError(f"--set {key.strip()}", str(error), "Correct the value") from None


def _apply_setting(raw: dict[str, Any], key: str, value: Any) -> None:
    if not isinstance(key, str):
        raise ConfigError("settings", f"expected a key path such as 'training.epochs', got {key!r}", "Correct the key")
    *parents, last = key.split(".")
    if (key in PATH_KEYS and value is not None) or (key == "data.manifest" and _leads_elsewhere(value)):
        value = _absolute(str(value), Path.cwd(), f"--set {key}")
    value = value.tolist() if hasattr(value, "tolist") else value  # NumPy's numbers and arrays
    table = raw
    for parent in parents:
        table = table.setdefault(parent, {})
        if not isinstance(table, dict):
            raise ConfigError("--set", f"'{parent}' in '{key}' is a value, not a table", "Check the key path")
    if value is None:
        table.pop(last, None)
    else:
        table[last] = value


def _make_paths_absolute(raw: dict[str, Any], base: Path, where: str) -> None:
    for key in PATH_KEYS:
        parent, _, last = key.rpartition(".")
        table = raw.get(parent) if parent else raw
        if isinstance(table, dict) and isinstance(table.get(last), str):
            table[last] = _absolute(table[last], base, f"{where}: {key}")
    data = raw.get("data")
    if isinstance(data, dict) and _leads_elsewhere(data.get("manifest")):
        data["manifest"] = _absolute(data["manifest"], base, f"{where}: data.manifest")


def _leads_elsewhere(name: Any) -> bool:
    """Whether the name of a list is a path such as ``./list.csv``, rather than the name of a file in data.root."""
    return isinstance(name, str) and (name.startswith(("./", "../", "/", "~", "$")) or is_url(name))


def _absolute(path: str, base: Path, where: str) -> str:
    def value_of(match: re.Match[str]) -> str:
        name, default = match["name"], match["default"]
        if SECRET_NAME.search(name):
            problem = f"the environment variable {name} has the name of a secret, and settings are kept with a run"
            raise ConfigError(where, problem, "Name a variable that holds a path")
        value = os.environ.get(name, default)
        if value is None:
            raise ConfigError(where, f"the environment variable {name} is not set", "Set it, or write the path")
        return value

    if not path.strip():
        raise ConfigError(where, "is empty", "Write a path")
    if is_too_long(path):
        raise ConfigError(where, f"is too long for a path, got {len(path):,} characters", "Correct the path")
    filled = re.sub(r"\$\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\}", value_of, path)
    if is_url(filled):
        return str(to_path(filled, where))
    return os.path.normpath(base / Path(filled).expanduser())
