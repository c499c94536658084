"""Malformed inputs: what a case is, how inputs are damaged, and the child process in which a module's cases run.

A module in ``tests/fuzz`` is one kind of input. Its function ``cases(seed)`` yields the cases of a seed: those that
failed in the past by name, and others drawn with ``np.random.default_rng(seed)``. This file, run with a module's name,
the number of cases to skip and the number of seeds, runs them with bounded memory and a limit of time for each case.
"""

import faulthandler
import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from voxray.errors import VoxrayError

SECONDS = 20  # that a case may take
MEMORY = 3 * 2**30  # that the cases may take beyond what the imports took
LONGEST_MESSAGE = 4000
FIFO = None  # as the content of a file: nobody ever writes to it


@dataclass(frozen=True)
class Case:
    """A malformed input and what Voxray is asked to do with it.

    Attributes
    ----------
    name : str
        Says what is wrong with it.
    files : mapping of str to bytes or FIFO
        Written into an empty folder.
    use : callable
        Is given the folder. It may raise an error of `voxray.errors`; everything else fails the case.
    check : callable, optional
        Is given what `use` returned, and raises AssertionError where that is not what the input says. Without it the
        input must be refused.
    sound : bool
        Nothing is wrong with it, so that it may not be refused: the others are damaged from one that is.
    """

    name: str
    files: Mapping[str, bytes | None]
    use: Callable[[Path], Any]
    check: Callable[[Any], None] | None = None
    sound: bool = False


def damage(data: bytes, rng: np.random.Generator) -> bytes:
    """The same bytes with one to three random damages."""
    for _ in range(int(rng.integers(1, 4))):
        data = DAMAGES[int(rng.integers(len(DAMAGES)))](data, rng)
    return data


def _at(data: bytes, rng: np.random.Generator) -> int:
    # Headers are short and interesting: half of the damages are in the first 512 bytes.
    end = len(data) if rng.random() < 0.5 else min(len(data), 512)
    return int(rng.integers(0, end + 1))


def _flip_bit(data: bytes, rng: np.random.Generator) -> bytes:
    at = min(_at(data, rng), len(data) - 1)
    return data[:at] + bytes([data[at] ^ 1 << int(rng.integers(8))]) + data[at + 1 :] if data else data


def _truncate(data: bytes, rng: np.random.Generator) -> bytes:
    return data[: _at(data, rng)]


def _insert(data: bytes, rng: np.random.Generator) -> bytes:
    at = _at(data, rng)
    return data[:at] + rng.bytes(int(rng.integers(1, 9))) + data[at:]


def _delete(data: bytes, rng: np.random.Generator) -> bytes:
    at = _at(data, rng)
    return data[:at] + data[at + int(rng.integers(1, 9)) :]


def _fill(data: bytes, rng: np.random.Generator) -> bytes:
    at, width = _at(data, rng), int(rng.choice([1, 2, 4, 8, 64]))
    fill = bytes([int(rng.choice([0, 0x7F, 0x80, 0xFF]))]) * width
    return data[:at] + fill + data[at + width :]


def _repeat(data: bytes, rng: np.random.Generator) -> bytes:
    at = _at(data, rng)
    end = at + int(rng.integers(1, 64))
    return data[:end] + data[at:end] + data[end:]


DAMAGES: Sequence[Callable[[bytes, np.random.Generator], bytes]] = (
    _flip_bit,
    _truncate,
    _insert,
    _delete,
    _fill,
    _repeat,
)

ODD_VALUES: Sequence[Any] = (
    *(None, True, False, 0, 1, -1, 2, 2**31, 2**62, 2**63, -(2**63), 2**64, 10**18, 10**400),
    *(0.5, -0.5, 1e-300, 1e308, -1e308, float("nan"), float("inf"), float("-inf")),
    *("", " ", "x", "8", "1e3", "\0", "\u202e", "ä" * 300, "../../etc/passwd", "/etc/passwd", "${HOME}", "{a,b}"),
    *([], {}, [[]], [None], [1, "a"], {"": 1}, {"a": {}}, [0] * 1000, [1, 2, 3], [-1, -1, -1], [10**9] * 3),
)


def odd_tree(tree: Any, rng: np.random.Generator, odd: Sequence[Any] = ODD_VALUES) -> Any:
    """The same JSON or TOML content with one value replaced, removed or added."""
    tree = json.loads(json.dumps(tree))
    places = list(_places(tree))
    parent, key = places[int(rng.integers(len(places)))]
    value = odd[int(rng.integers(len(odd)))]
    action = rng.choice(["replace", "replace", "replace", "remove", "add", "copy"])
    if action == "remove":
        del parent[key]
    elif action == "copy":
        other, name = places[int(rng.integers(len(places)))]
        parent[key] = json.loads(json.dumps(other[name]))
    elif action == "add" and isinstance(parent, list):
        parent.insert(key, value)
    elif action == "add":
        parent["unknown_key"] = value
    else:
        parent[key] = value
    return tree


def _places(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Every container with every key of it."""
    items = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in items:
        yield tree, key
        yield from _places(value)


def run_case(case: Case, folder: Path) -> str:
    """Write the files of a case and use them; how it failed, or an empty text."""
    for name, content in case.files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if content is None:
            os.mkfifo(path)
        else:
            path.write_bytes(content)
    try:
        result = case.use(folder)
    except VoxrayError as error:
        if case.sound:
            return f"refused: {error}"
        return "" if len(str(error)) <= LONGEST_MESSAGE else f"its message has {len(str(error)):,} characters"
    except BaseException:  # noqa: BLE001 - that is what is looked for
        return f"an error that Voxray does not raise on purpose:\n{traceback.format_exc(limit=-6)}"
    if case.check is None:
        return f"accepted without a word: {result!r:.300}"
    try:
        case.check(result)
    except AssertionError as error:
        return f"accepted, but not as what it says: {error!s:.1000}\n{traceback.format_exc(limit=-2)}"
    return ""


def run_module(name: str, skipped: int, seeds: Sequence[int]) -> None:
    """Run the cases of a module but for the first ones, and print a line before each and one for each failure."""
    module = importlib.import_module(f"fuzz.{name}")
    warnings.simplefilter("error")
    warnings.simplefilter("ignore", DeprecationWarning)
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + MEMORY,) * 2)
    numbered = enumerate((seed, case) for seed in seeds for case in module.cases(seed))
    for number, (seed, case) in numbered:
        if number < skipped:
            continue
        _print(number=number, case=f"{case.name} (seed {seed})")
        folder = Path(tempfile.mkdtemp())
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        failure = run_case(case, folder)
        faulthandler.cancel_dump_traceback_later()
        shutil.rmtree(folder)
        if failure:
            _print(failure=failure)
    _print(finished=True)


def _print(**fields: Any) -> None:
    print(json.dumps(fields), flush=True)  # noqa: T201 - what the parent reads


if __name__ == "__main__":
    run_module(sys.argv[1], int(sys.argv[2]), range(int(sys.argv[3])))
