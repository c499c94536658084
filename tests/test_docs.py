"""What the documentation names exists: links, files, modules, settings, commands and their options."""

import pkgutil
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
PACKAGE = PROJECT / "platform" / "voxray"
PACKAGES = sorted({path.parent.name for path in PACKAGE.glob("*/__init__.py")} - {"runs"})  # runs/ is also a folder
MODULE_FILE = re.compile(rf"`(?:platform/voxray/)?((?:{'|'.join(PACKAGES)})/[\w/]+(?:\.py)?)`")
DOTTED = re.compile(r"(?<![\w/.@-])(?:voxray|models)(?:\.[A-Za-z_]\w*)+")
EXAMPLE = re.compile(r"^```(?:python|diff)\n(?:# |--- ).*?^```$", re.MULTILINE | re.DOTALL)
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


def is_defined(name: str) -> bool:
    """Whether a dotted name is a module or what one defines."""
    try:
        pkgutil.resolve_name(f"voxray.{name.removeprefix('voxray.')}")
    except (ImportError, AttributeError):
        return False
    return True


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_modules_and_their_files_exist(page: Path) -> None:
    text = EXAMPLE.sub("", read(page))  # the examples of CONTRIBUTING.md are applied and run by a test of their own
    files = [PACKAGE / name for name in MODULE_FILE.findall(text)]
    assert [path for path in files if not (path.exists() or path.with_suffix(".py").exists())] == []
    assert [name for name in DOTTED.findall(text) if not is_defined(name)] == []


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


def test_every_shipped_architecture_is_listed() -> None:
    text = (PROJECT / "docs" / "architectures.md").read_text(encoding="utf-8")
    shipped = {path.name for path in (PROJECT / "configs" / "architectures").glob("*.json")}
    assert set(re.findall(r"^\| `(\w+\.json)` \|", text, re.MULTILINE)) == shipped


def test_every_option_of_a_search_is_listed_with_its_default() -> None:
    text = (PROJECT / "docs" / "tune.md").read_text(encoding="utf-8")
    listed = dict(re.findall(r"^\| `(--[\w-]+).*?` \| `?(.+?)`? \|", text, re.MULTILINE))
    command = get_command(app).commands["tune"]  # type: ignore[attr-defined]
    options = {option.opts[0]: option for option in command.params if option.opts[0].startswith("--")}
    assert set(listed) == set(options) - {"--help"}
    defaults = {name: option.default for name, option in options.items() if type(option.default) is not bool}
    defaults = {name: str(value) for name, value in defaults.items() if isinstance(value, str | int)}
    assert set(defaults) == {"--trials", "--search", "--scheduler", "--seed"}
    assert {name: listed[name] for name in defaults} == defaults
