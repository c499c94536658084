"""An experiment file as text, with a comment for each choice."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from voxray.planning.choices import Choice

WIDTH = 118


def experiment_text(comment: str, top: Mapping[str, Any], data: Mapping[str, Any], choices: Iterable[Choice]) -> str:
    """The content of an experiment file.

    Parameters
    ----------
    comment : str
        What the experiment does, for its head.
    top : mapping of str to value
        The keys outside of tables.
    data : mapping of str to value
        The table ``[data]``.
    choices : iterable of Choice
        All others, in the order of their tables.
    """
    tables: dict[str, list[Choice]] = {"data": [Choice(f"data.{key}", value) for key, value in data.items()]}
    for choice in choices:
        tables.setdefault(choice.key.partition(".")[0], []).append(choice)
    lines = [*_comment(comment), *(f"{key} = {toml_value(value)}" for key, value in top.items())]
    for name, entries in tables.items():
        lines += ["", f"[{name}]"]
        for entry in entries:
            lines += _comment(entry.reason)
            lines.append(f"{entry.key.partition('.')[2]} = {toml_value(entry.value)}")
    return "\n".join(lines) + "\n"


def toml_value(value: Any) -> str:
    """A value of plain Python types as TOML."""
    if isinstance(value, Mapping):
        return f"{{ {', '.join(f'{_quoted(key)} = {toml_value(each)}' for key, each in value.items())} }}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(toml_value, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    # JSON escapes as basic strings of TOML do, but for this one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def _comment(text: str) -> Iterator[str]:
    yield from (f"# {line}" for line in textwrap.wrap(text, WIDTH, break_on_hyphens=False))
