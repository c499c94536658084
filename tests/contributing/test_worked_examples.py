"""The worked examples of CONTRIBUTING.md: each adds one file and a registry entry, and nothing else changes."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(?:python|diff)\n(# |--- )(\S+/\S+\.py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## Add a (.+?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
EXAMPLES = dict(SECTION.findall((PROJECT / "CONTRIBUTING.md").read_text(encoding="utf-8")))
TOGETHER = "tests/test_all_together.py"


def apply_hunks(text: str, hunks: str) -> str:
    """A file after a diff without line numbers: context and removed lines are looked up from the top down."""
    lines, position = text.split("\n"), 0
    for hunk_line in hunks.rstrip("\n").split("\n"):
        mark, line = hunk_line[:1], hunk_line[1:]
        if mark == "+":
            lines.insert(position, line)
            position += 1
        elif mark in " -":
            assert line in lines[position:], f"CONTRIBUTING.md shows a line that its file does not have: {line}"
            position = lines.index(line, position)
            if mark == "-":
                del lines[position]
            else:
                position += 1
    return "\n".join(lines)


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package with all examples applied, and their tests."""
    root = tmp_path_factory.mktemp("project")
    package = Path("platform/voxray")
    shutil.copytree(PROJECT / package, root / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(PROJECT / "pyproject.toml", root)
    for section in EXAMPLES.values():
        for mark, name, content in BLOCK.findall(section):
            path = root / name
            if mark == "# ":
                assert not path.exists()
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(content, encoding="utf-8")
            else:
                path.write_text(apply_hunks(path.read_text(encoding="utf-8"), content), encoding="utf-8")
    shutil.copy(Path(__file__).with_name("all_together.py"), root / TOGETHER)
    return root


@pytest.fixture(scope="module")
def outcome(copy: Path) -> str:
    """What pytest says of the examples' tests, one line a test."""
    command = [sys.executable, "-m", "pytest", "-rA", "-c", "pyproject.toml", "-p", "no:cacheprovider", "tests"]
    environment = {**os.environ, "PYTHONPATH": str(copy / "platform")}
    return subprocess.run(command, cwd=copy, env=environment, capture_output=True, text=True, check=False).stdout


def test_there_is_an_example_of_each_thing_that_can_be_added() -> None:
    assert set(EXAMPLES) == {"file format", "layer", "layout", "loss", "metric"}


@pytest.mark.parametrize("thing", EXAMPLES)
def test_it_takes_one_new_file_and_one_registry(thing: str) -> None:
    (new, module, _), (changed, registry, _), (_, test, _) = BLOCK.findall(EXAMPLES[thing])
    assert (new, changed) == ("# ", "--- ")
    assert Path(module).parts[:2] == Path(registry).parts[:2] == ("platform", "voxray")
    assert (PROJECT / registry).is_file()
    assert Path(test).name == f"test_{Path(module).name}"


@pytest.mark.parametrize("thing", EXAMPLES)
def test_its_own_test_passes(thing: str, outcome: str) -> None:
    test = BLOCK.findall(EXAMPLES[thing])[2][1]
    assert f"PASSED {test}::" in outcome, outcome
    assert f"FAILED {test}" not in outcome, outcome


def test_an_experiment_can_use_all_of_them(outcome: str) -> None:
    assert f"PASSED {TOGETHER}::" in outcome, outcome


def test_the_examples_follow_the_style(copy: Path) -> None:
    for command in ("check", "format --check"):
        subprocess.run([sys.executable, "-m", "ruff", *command.split(), "--no-cache", "."], cwd=copy, check=True)
