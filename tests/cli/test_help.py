import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

import voxray
from voxray.cli.app import app

HEAVY = ("torch", "ray", "zarr", "SimpleITK", "matplotlib", "sklearn", "wandb")
SECONDS = 0.5  # of processor time
ENVIRONMENT = {**os.environ, "COLUMNS": "100", "TERM": "dumb", "NO_COLOR": "1"}


def commands() -> dict[str, str]:
    """Help text of every command by its words."""
    texts: dict[str, str] = {}
    waiting = [("voxray", get_command(app))]
    while waiting:
        words, command = waiting.pop()
        texts[words] = command.help or ""
        waiting += [(f"{words} {name}", each) for name, each in getattr(command, "commands", {}).items()]
    return texts


@pytest.mark.parametrize("option", ["--help", "--version"])
def test_help_and_version_are_quick_and_import_nothing_heavy(option: str) -> None:
    code = f"import sys, atexit; from voxray.cli.app import main; sys.argv = ['voxray', '{option}']\n"
    code += f"atexit.register(lambda: sys.stderr.write(' '.join({set(HEAVY)} & sys.modules.keys())))\nmain()"
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert process.stderr == ""
    assert process.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < SECONDS


def test_the_package_runs_as_a_module() -> None:
    printed = [
        subprocess.run([*command, "--version"], capture_output=True, encoding="utf-8", check=True).stdout
        for command in ([sys.executable, "-m", "voxray"], [str(Path(sys.executable).with_name("voxray"))])
    ]
    assert printed == [f"voxray {voxray.__version__}\n"] * 2


def test_the_program_says_what_it_is_for_in_one_sentence_then_gives_examples() -> None:
    first, examples = commands()["voxray"].split("\n\n", 1)
    assert first.count(".") == 1
    names = {words.split()[1] for words in commands() if " " in words}
    used = re.findall(r"^  voxray (\w+)", examples, re.MULTILINE)
    assert len(used) >= 3
    assert set(used) <= names


@pytest.mark.parametrize(("words", "text"), [item for item in commands().items() if item[0].count(" ")])
def test_each_command_says_what_it_does_in_one_sentence_and_gives_an_example(words: str, text: str) -> None:
    sentence = text.split("\n\n")[0]
    assert sentence.endswith(".")
    assert ". " not in sentence
    if words != "voxray phantom":  # a group of commands
        assert text.strip().splitlines()[-1].startswith(f"Example: {words} ")


def test_a_shell_can_complete_the_commands() -> None:
    environment = {**ENVIRONMENT, "_VOXRAY_COMPLETE": "complete_bash", "COMP_WORDS": "voxray tr", "COMP_CWORD": "1"}
    process = subprocess.run(
        [Path(sys.executable).with_name("voxray")], env=environment, capture_output=True, encoding="utf-8", check=False
    )
    assert process.stdout.split() == ["train"]
