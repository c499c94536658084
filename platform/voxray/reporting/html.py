"""Templates."""

import jinja2

from voxray.reporting.text.numbers import interval_text, probability_percent


def template_environment() -> jinja2.Environment:
    """The templates of all pages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("voxray", "reporting/templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["thousands"] = lambda number: f"{number:,}"
    environment.filters["interval"] = lambda ends: interval_text(*ends)
    environment.filters["probability_percent"] = probability_percent
    return environment
