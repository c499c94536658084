"""Checked configuration: frozen specs, and pydantic's errors in terms of the file that the user wrote."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationError

from voxray.config.parse import parse_json
from voxray.errors import ConfigError
from voxray.storage.paths import AnyPath, read_bytes

EXPECTED = {
    **dict.fromkeys(("byte_size", "byte_size_unit"), 'expected a number of bytes, or a size such as "1MiB"'),
    **dict.fromkeys(("model_type", "dict_type"), "expected a table"),
}
LONGEST_SHOWN = 200  # characters of a value in a message


class Spec(BaseModel):
    """A frozen, strict piece of configuration: unknown keys are errors. The docstrings of its fields document them.

    `also_called` maps words that other programs use for a setting to its name here, for suggestions.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)
    also_called: ClassVar[Mapping[str, str]] = {}


def read_json(path: AnyPath, noun: str, remedy: str) -> Any:
    """Content of a JSON file that a user named; ConfigError if it is missing, cannot be read, or is not JSON."""
    try:
        return parse_json(read_bytes(path))
    except FileNotFoundError:
        raise ConfigError(str(path), f"no such {noun} file", remedy) from None
    except ValueError as error:
        raise ConfigError(str(path), f"not a JSON file: {error}", "Correct it there") from None
    except OSError as error:
        raise ConfigError(str(path), f"cannot be read: {error.strerror}", "Check the path") from None


def key_path(location: Sequence[int | str]) -> str:
    """``("layers", 3, "kernel_size")`` as ``layers[3].kernel_size``."""
    path = ""
    for part in location:
        name = part if isinstance(part, int) or part.isidentifier() else shown(part)
        path += f"[{part}]" if isinstance(part, int) else f".{name}" if path else str(name)
    return path


def shown(value: Any) -> str:
    """A value as messages write it, shortened where it is long."""
    text = repr(value)
    return text if len(text) <= LONGEST_SHOWN else f"{text[:LONGEST_SHOWN]}…"


def nearest(name: str, known: Iterable[str], also_called: Mapping[str, str] | None = None) -> str:
    """A hint that names the nearest known word, or all of them; `also_called` maps other words to known ones."""
    words = {word: word for word in sorted(known)}
    others = {word: target for word, target in (also_called or {}).items() if target in words}
    near = difflib.get_close_matches(name, {**others, **words}, n=1, cutoff=0.6)
    return f"did you mean '{(others | words)[near[0]]}'?" if near else f"known: {', '.join(words)}"


def _spec_at(spec: type[BaseModel], location: Sequence[int | str]) -> type[BaseModel] | None:
    """The spec of the table at `location`."""
    for part in location:
        field = spec.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)):
            return None
        spec = field.annotation
    return spec


def describe_problems(error: ValidationError, spec: type[BaseModel], prefix: str = "") -> list[str]:
    """One line for each problem of `error`: key path, what is wrong, the value, what to do.

    `spec` is the model that was validated, for suggestions; `prefix` the key path of the value that was validated.
    """
    start = f"{prefix}." if prefix else ""
    # A value of a union type has a problem for each member.
    return list(dict.fromkeys(start + _describe(problem, spec) for problem in error.errors(include_url=False)))


def _describe(problem: Any, spec: type[BaseModel]) -> str:
    kind, value = problem["type"], problem["input"]
    # Pydantic also names the members of a union; a file has keys only. The key that is unknown may be any text.
    unknown = list(problem["loc"][-1:]) if kind == "extra_forbidden" else []
    known_parts = problem["loc"][: len(problem["loc"]) - len(unknown)]
    location = [part for part in known_parts if isinstance(part, int) or part.isidentifier()] + unknown
    path = key_path(location)
    if unknown:
        table = _spec_at(spec, location[:-1])
        known, others = (table.model_fields, getattr(table, "also_called", {})) if table else ((), {})
        return f"{path}: unknown key; {nearest(str(location[-1]), known, others)}"
    if kind == "missing":
        return f"{path}: missing. Give it a value"
    if kind in EXPECTED:
        return f"{path}: {EXPECTED[kind]}, got {shown(value)}"
    message = problem["msg"].removeprefix("Value error, ").removeprefix("Input ")
    if not isinstance(value, dict):
        return f"{path}: {message}, got {shown(value)}"
    # A rule between several keys starts with one of them.
    separator = "." if message.partition(":")[0].isidentifier() else ": "
    return f"{path}{separator}{message}" if path else message
