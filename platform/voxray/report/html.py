"""Templates, and files that appear whole or not at all."""

import os
from pathlib import Path

import jinja2


def template_environment() -> jinja2.Environment:
    """The templates of all pages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("voxray", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    return environment


def write_text(path: Path, text: str) -> None:
    """Write a file so that it appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
