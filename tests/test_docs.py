"""What the documentation names exists: links, files, modules, settings, commands and their options."""

import re
import shlex
from pathlib import Path

import pytest
from pydantic import BaseModel
from typer.main import get_command

from voxray.cli.app import app
from voxray.config.experiment import Experiment

PROJECT = Path(__file__).parents[1]
PAGES = [*sorted(PROJECT.glob("*.md")), *sorted((PROJECT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)#:]+)(?:#[^)]*)?\)")
FILE = re.compile(r"(?<![\w/.-])((?:configs|benchmarks|tools|jobs)/[\w/.]+\.\w+)")
SECTIONS = {
    name: field.annotation.model_fields
    for name, field in Experiment.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
}
SETTING = re.compile(rf"(?:`|--set )({'|'.join(SECTIONS)})\.([a-z]\w+)(?=[`= ])")
BLOCK = re.compile(r"^```(?:bash|sh)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
COMMAND = re.compile(r"^(?:[A-Z_]+=\S+ )*voxray (.+)$", re.MULTILINE)


def read(page: Path) -> str:
    """A page without the old names of the changelog."""
    text = page.read_text(encoding="utf-8")
    return re.sub(r"### Renamed.*?(?=\n##)", "", text, flags=re.DOTALL) if page.name == "CHANGELOG.md" else text


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_files_exist(page: Path) -> None:
    text = read(page)
    assert [link for link in LINK.findall(text) if not (page.parent / link).exists()] == []
    assert [name for name in FILE.findall(text) if not (PROJECT / name).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_settings_exist(page: Path) -> None:
    named = SETTING.findall(read(page))
    assert [f"{section}.{key}" for section, key in named if key not in (*SECTIONS[section], "py")] == []


def test_architecture_names_every_package_and_only_what_exists() -> None:
    text = (PROJECT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    package = PROJECT / "platform" / "voxray"
    packages = {f"{path.parent.name}/" for path in package.glob("*/__init__.py")}
    rows = re.findall(r"^\| (`.+?`) \|", text, re.MULTILINE)
    assert packages <= set(re.findall(r"`([^`]+)`", " ".join(rows)))
    modules = re.findall(rf"`((?:{'|'.join(name[:-1] for name in packages)})/\w+)`", text)
    assert [name for name in modules if not ((package / f"{name}.py").exists() or (package / name).is_dir())] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_and_options_exist(page: Path) -> None:
    for block in BLOCK.findall(read(page)):
        for line in COMMAND.findall(block.replace("\\\n", " ")):
            words = shlex.split(line, comments=True)
            context = get_command(app).make_context("voxray", words, resilient_parsing=False)
            name, command, rest = context.command.resolve_command(context, [*context._protected_args, *context.args])
            if command is not None and "|" not in words[0]:
                command.make_context(name, rest, parent=context)
