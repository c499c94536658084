"""Templates."""

import jinja2


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
    return environment
