"""The page, the JSON file and the terminal output of an inspection."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from rich.table import Column, Table
from rich.text import Text

from voxray.console.units import bytes_text
from voxray.inspection.kinds import ERROR, KINDS, Kind
from voxray.inspection.summary import NO_SPLIT, Inspection, summarize
from voxray.inspection.target import InspectionTarget
from voxray.reporting.charts.scan_histograms import inspection_charts
from voxray.reporting.html import template_environment
from voxray.reporting.inspection.montage import choose_evenly, choose_flagged, draw_pairs, draw_tiles
from voxray.reporting.run.reproduce import shorten_paths
from voxray.reporting.text.numbers import SPLIT_NAMES, count, number_text, percent
from voxray.runs.folder import InspectionFolder
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath
from voxray.store.layout import write_parquet
from voxray.visualization.style import class_color

TILES, FLAGGED_TILES, PAIRS = 24, 8, 12
ISSUES_SHOWN = 10  # of each kind
VALUES_SHOWN = 4
COLORS = {"error": "#d55e00", "warning": "#e69f00", "": "#009e73"}


@dataclass(frozen=True)
class KindIssues:
    """A kind of issue, the number of issues of it, and the worst of them."""

    kind: Kind
    total: int
    worst: list[dict[str, Any]]


def write_inspection(folder: AnyPath, inspection: Inspection) -> AnyPath:
    """Write ``scans.parquet``, ``inspection.json`` with all issues, and the page with the worst; returns the page."""
    files = InspectionFolder(folder)
    write_parquet(inspection.scan_stats, files.scans)
    summary = summarize(inspection)
    write_text(files.summary, json.dumps(summary, indent=2, ensure_ascii=False) + "\n")
    write_text(files.page, render_inspection(inspection, summary))
    return files.page


def render_inspection(inspection: Inspection, summary: dict[str, Any]) -> str:
    """The page as HTML."""
    environment = template_environment()
    environment.filters["hide_paths"] = lambda text: shorten_paths(str(text))
    environment.filters["bytes"] = bytes_text
    evenly = [(row, _caption(row)) for row in choose_evenly(inspection.scan_stats, TILES)]
    values = {
        **summary,
        "subtitle": " · ".join(_subtitle(inspection, summary)),
        "severity": "error" if summary["errors"] else "warning" if summary["warnings"] else "",
        "colors": COLORS,
        "sentence": summary_sentence(inspection),
        "headline": list(_headline(summary)),
        "issue_kinds": list(group_issues(inspection.issues)),
        "unchecked_kinds": [] if inspection.voxels else [kind.title for kind in KINDS.values() if kind.needs_voxels],
        "tiles": draw_tiles(inspection, evenly),
        "near_total": summary["kinds"].get("near", 0),
        "pairs": draw_pairs(inspection, PAIRS),
        "flagged": draw_tiles(inspection, choose_flagged(inspection, FLAGGED_TILES)),
        "charts": inspection_charts(inspection.scan_stats),
        "channel_names": channel_names(inspection.target, len(summary["intensity"])),
        "variants": list(_variants(summary)),
        "split_names": {**SPLIT_NAMES, NO_SPLIT: "Not split yet"},
        "masks": inspection.target.masks,
        "outlined": outlined_classes(inspection.target),
        "class_color": class_color,
        "number": number_text,
        "percent": percent,
        "json_file": InspectionFolder(Path()).summary.name,
        "scans_file": InspectionFolder(Path()).scans.name,
    }
    return environment.get_template("inspection.html.jinja").render(values) + "\n"


def summary_sentence(inspection: Inspection) -> str:
    """The result in one sentence."""
    errors = f"{count(inspection.errors, 'error')} to fix before training" if inspection.errors else "No errors"
    warnings = f"{count(inspection.warnings, 'warning')} to review" if inspection.warnings else "no warnings"
    read = "All voxels were read" if inspection.voxels else "Only headers and lists were read, no voxels"
    return f"{errors}, {warnings}. {read}."


def group_issues(issues: pa.Table) -> Iterator[KindIssues]:
    """The first issues of each kind, which are the worst."""
    for name, kind in KINDS.items():
        of_kind = issues.filter(pc.equal(issues["kind"], name))
        if of_kind.num_rows:
            yield KindIssues(kind, of_kind.num_rows, of_kind.slice(0, ISSUES_SHOWN).to_pylist())


def issues_table(inspection: Inspection) -> Table:
    """The kinds of issues for a terminal, each with its first one."""
    first = Column("first", overflow="fold")
    table = Table("", "count", "issue", first, title=f"inspection of {inspection.target.name}")
    for group in group_issues(inspection.issues):
        style = "bold red" if group.kind.severity == ERROR else "yellow"
        issue = group.worst[0]
        where = issue["path"] or issue["scan_id"]
        text = f"{where}: {issue['detail']}" if where else issue["detail"]
        table.add_row(f"[{style}]{group.kind.severity}[/]", f"{group.total:,}", group.kind.title, Text(text))
    return table


def summary_lines(inspection: Inspection) -> Iterator[str]:
    """The data set in a few lines for a terminal."""
    summary = summarize(inspection)
    for name, value, note in _headline(summary):
        yield f"{name:<11}{value}{f', {note}' if note else ''}"
    for name, values in _variants(summary):
        yield f"{name:<11}{values}"
    for note in summary["notes"]:
        yield f"note       {note}"


def outlined_classes(target: InspectionTarget) -> tuple[str, ...]:
    """The classes outlined in a montage; empty where there are no masks."""
    if target.manifest.scans["label_path"].null_count == target.manifest.scans.num_rows:
        return ()
    return target.mask_classes[1:] or ("mask",)


def channel_names(target: InspectionTarget, count: int) -> list[str]:
    """The names that the data set gives its channels, or else their numbers."""
    names = list(target.manifest.channels)
    if len(names) == count:
        return names
    return ["intensity"] if count == 1 else [f"channel {number}" for number in range(count)]


def _subtitle(inspection: Inspection, summary: dict[str, Any]) -> Iterator[str]:
    yield f"{summary['layout']} layout" if summary["layout"] else "unknown layout"
    yield count(summary["scans"], "scan")
    yield "all voxels read" if inspection.voxels else "headers only"


def _headline(summary: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, value and note of each quantity."""
    unread = summary["scans"] - summary["readable"]
    yield "Scans", f"{summary['scans']:,}", f"{unread:,} unreadable" if unread else ""
    yield "Patients", f"{summary['patients']:,}", ""
    if summary["readable"]:
        yield "Voxels", *_median_and_range(summary["extent"], "{:.0f}", "")
        if any(summary["axes"]):
            yield "Spacing", *_median_and_range(summary["spacing_mm"], "{:.3g}", " mm")
    yield "On disk", bytes_text(summary["size_bytes"]), f"{bytes_text(summary['voxel_bytes'])} in memory"
    if summary["store_bytes"] is not None:
        yield "Store", bytes_text(summary["store_bytes"]), "estimated, before compression"


def _median_and_range(ranges: dict[str, list[float]], form: str, unit: str) -> tuple[str, str]:
    low, median, high = (" × ".join(form.format(ranges[axis][rank]) for axis in "xyz") for rank in (0, 1, 2))
    return median + unit, "the same in all scans" if low == high else f"median; range {low} to {high}"


def _caption(row: dict[str, Any]) -> str:
    # A number alone is not understood as a class.
    label = f"class {row['label']}" if (row["label"] or "").isdecimal() else row["label"]
    return ", ".join(filter(None, [label, SPLIT_NAMES.get(row["split"] or "", "").lower()]))


def _variants(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Number of scans of each kind, for properties that the scans of a data set should have in common."""
    for name, key in (("Channels", "channels"), ("Data type", "dtypes"), ("Axes", "axes"), ("Shape", "extents")):
        counts = [f"{value} ({number:,})" for value, number in summary[key].items() if value]
        if counts:
            others = f", and {len(counts) - VALUES_SHOWN:,} others" if len(counts) > VALUES_SHOWN else ""
            yield name, ", ".join(counts[:VALUES_SHOWN]) + others
