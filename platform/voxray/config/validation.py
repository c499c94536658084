"""Pydantic's findings in the words of the file that the user wrote."""

import difflib
import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from voxray.errors import ConfigError
from voxray.storage.paths import AnyPath, read_bytes


class Spec(BaseModel):
    """A frozen, strict piece of configuration: unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


def read_json(path: AnyPath, noun: str, remedy: str) -> Any:
    """Content of a JSON file that a user named.

    Raises
    ------
    ConfigError
        There is no such file, it cannot be read, or it is no JSON.
    """
    try:
        return json.loads(read_bytes(path))
    except FileNotFoundError:
        raise ConfigError(str(path), f"no such {noun} file", remedy) from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(str(path), f"not a JSON file: {error}", "Correct it there") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", "Check the path") from None


def key_path(location: Sequence[int | str]) -> str:
    """``("layers", 3, "kernel_size")`` as ``layers[3].kernel_size``."""
    path = ""
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}" if path else str(part)
    return path


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint that names the nearest known word, or all of them."""
    words = sorted(known)
    near = difflib.get_close_matches(name, words, n=1, cutoff=0.6)
    return f"did you mean '{near[0]}'?" if near else f"known: {', '.join(words)}"


def _fields_at(spec: type[BaseModel], location: Sequence[int | str]) -> list[str]:
    """The keys that `spec` knows at `location`."""
    for part in location:
        field = spec.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return []
        spec = field.annotation
    return list(spec.model_fields)


def describe_problems(error: ValidationError, spec: type[BaseModel], prefix: str = "") -> list[str]:
    """One line for each finding of `error`: key path, what is wrong, the value found, a remedy.

    Parameters
    ----------
    error : pydantic.ValidationError
    spec : type
        The model that was being filled, for suggestions.
    prefix : str
        Key path of the value that was validated.
    """
    lines = [prefix_path(prefix, _describe(finding, spec)) for finding in error.errors(include_url=False)]
    # A value that may be one thing or another is found wrong once for each.
    return list(dict.fromkeys(lines))


def prefix_path(prefix: str, line: str) -> str:
    """`line` with the key path `prefix` in front of its own."""
    return f"{prefix}.{line}" if prefix else line


def _describe(finding: Any, spec: type[BaseModel]) -> str:
    # Pydantic names the branches of a choice too; a file has keys only.
    location = [part for part in finding["loc"] if isinstance(part, int) or part.isidentifier()]
    path = key_path(location)
    if finding["type"] == "extra_forbidden":
        known = _fields_at(spec, location[:-1])
        return f"{path}: unknown key; {nearest(str(location[-1]), known)}"
    if finding["type"] == "missing":
        return f"{path}: missing. Give it a value"
    if finding["type"] in ("model_type", "dict_type"):
        return f"{path}: wants a table, got {finding['input']!r}"
    message = finding["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if isinstance(finding["input"], dict):  # a rule between several keys names them itself
        return f"{path}: {message}" if path else message
    return f"{path}: {message}, got {finding['input']!r}"
