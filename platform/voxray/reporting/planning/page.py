"""The page of a plan: what the data set is like, and what was chosen for it."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from voxray.reporting.charts.scan_histograms import inspection_charts
from voxray.reporting.html import template_environment
from voxray.reporting.run.reproduce import shorten_paths


def render_plan(name: str, content: Mapping[str, Any], scan_stats: pa.Table) -> str:
    """The page as HTML.

    Parameters
    ----------
    name : str
    content : mapping
        Of ``plan.json``.
    scan_stats : pyarrow.Table
        A row for each scan, schema SCAN_STATS.
    """
    environment = template_environment()
    environment.filters["hide_paths"] = lambda text: shorten_paths(str(text))
    values = {**content, "name": name, "charts": inspection_charts(scan_stats)}
    return environment.get_template("plan.html.jinja").render(values) + "\n"
