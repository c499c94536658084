"""Documentation, templates and help use the terms of docs/glossary.md and American spelling."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer import Typer
from typer.testing import CliRunner

from voxray.cli.app import app

PROJECT = Path(__file__).parents[1]
# Names of other projects; in the changelog old names; in templates what is not text.
QUOTED = re.compile(r"Task01_BrainTumour")
CODE = re.compile(r"`[^`\n]*`")
MARKUP = re.compile(r"<[^>]*>|{%.*?%}|{{.*?}}|{#.*?#}", re.DOTALL)
STRING = re.compile(r"\"([^\"]*)\"|'([^']*)'")
# Word (a prefix where it ends in a hyphen) → the term to use.
WORDS = {
    # British spelling
    "analyse": "analyze",
    "behaviour": "behavior",
    "catalogue": "catalog",
    "centimetre": "centimeter",
    "centre-": "center",
    "centred": "centered",
    "colour-": "color",
    "favour-": "favor",
    "fibre-": "fiber",
    "grey-": "gray",
    "initialis-": "initialize",
    "labelled": "labeled",
    "labelling": "labeling",
    "licence-": "license",
    "millimetre-": "millimeter",
    "modelling": "modeling",
    "neighbour-": "neighbor",
    "normalis-": "normalize",
    "optimisa-": "optimization",
    "optimise-": "optimize",
    "optimising": "optimizing",
    "organis-": "organize",
    "recognis-": "recognize",
    "standardis-": "standardize",
    "tumour-": "tumor",
    "travell-": "travel",
    # Words without a meaning in the field
    "anew": "again",
    "as yet": "currently",
    "comes to": "equals",
    "dealt": "assigned",
    "deal out": "assign",
    "figure": "metric, value",
    "figures": "metrics, values",
    "foretold": "predicted",
    "goes on": "resumes",
    "going on": "resuming",
    "go on": "resume",
    "hardest mistake-": "worst errors",
    "judge-": "evaluate",
    "left out": "excluded, skipped",
    "mended": "fixed",
    "no sign of life": "not responding",
    "of which": "a shorter sentence",
    "sets aside": "quarantines",
    "set aside": "quarantined",
    "settle-": "determine",
    "told": "given",
    "truth \\ called": "true \\ predicted",
    "verdict-": "prediction",
    "wants": "needs, expects",
    "whoever": "a user who",
}


def _pattern(word: str) -> str:
    return rf"{re.escape(word[:-1])}\w*" if word.endswith("-") else rf"{re.escape(word)}\b"


PATTERN = re.compile(rf"(?<![\w.`-])(?:{'|'.join(map(_pattern, WORDS))})", re.IGNORECASE)


def find_words(text: str) -> list[str]:
    """The words of the list in a text, each with its line number."""
    lines = enumerate(QUOTED.sub("", text).split("\n"), 1)
    return [f"line {number}: {match.group()}" for number, line in lines for match in PATTERN.finditer(line)]


def read_prose(page: Path) -> str:
    """The text of a page, with as many lines."""
    text = page.read_text(encoding="utf-8")
    if page.name == "CHANGELOG.md":
        return CODE.sub("", text)
    return MARKUP.sub(_strings, text) if page.suffix == ".jinja" else text


def _strings(markup: re.Match[str]) -> str:
    """The line breaks of markup, and the strings of an expression."""
    text = markup.group()
    words = [first or second for first, second in STRING.findall(text)] if text.startswith("{{") else []
    return " ".join(words) + "\n" * text.count("\n")


def pages() -> Iterator[Path]:
    """Every page, template and configuration file."""
    yield from (PROJECT / name for name in ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"))
    yield from sorted((PROJECT / "docs").glob("*.md"))
    yield from sorted((PROJECT / "platform/voxray").rglob("*.jinja"))
    yield from sorted((PROJECT / "configs").rglob("*.toml"))
    yield from (PROJECT / name for name in ("cluster.yaml", "kuberay.yaml", "jobs/runtime_env.yaml", "Makefile"))


def commands(group: Typer = app, *names: str) -> Iterator[tuple[str, ...]]:
    """The words of every command."""
    yield names
    for command in group.registered_commands:
        yield (*names, command.name or command.callback.__name__)  # type: ignore[union-attr]
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, *names, inner.name)  # type: ignore[arg-type]


@pytest.mark.parametrize("page", list(pages()), ids=lambda page: page.relative_to(PROJECT).as_posix())
def test_a_page_uses_the_terms_of_the_glossary(page: Path) -> None:
    assert find_words(read_prose(page)) == []


@pytest.mark.parametrize("command", list(commands()), ids=" ".join)
def test_help_uses_the_terms_of_the_glossary(command: tuple[str, ...]) -> None:
    outcome = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200"})
    assert outcome.exit_code == 0
    assert find_words(outcome.output) == []


def test_private_words_are_found() -> None:
    assert find_words("The same command\ngoes on in the centre of a judgement.") == [
        "line 2: goes on",
        "line 2: centre",
        "line 2: judgement",
    ]
