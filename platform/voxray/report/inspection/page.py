"""The page, the JSON and the table of a look at a data set."""

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
from voxray.report.charts.scan_histograms import inspection_charts
from voxray.report.html import template_environment
from voxray.report.inspection.montage import choose_evenly, choose_flagged, draw_tiles
from voxray.report.run.reproduce import shorten_paths
from voxray.report.text.metric_values import SPLIT_NAMES, count, number_text, percent
from voxray.runs.folder import InspectionFolder
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath
from voxray.store.layout import write_parquet
from voxray.visualization.style import class_color

TILES, FLAGGED_TILES = 24, 8
ROWS_SHOWN = 10  # of each kind
VALUES_SHOWN = 4
COLORS = {"error": "#d55e00", "warning": "#e69f00", "": "#009e73"}


@dataclass(frozen=True)
class KindRows:
    """A kind of finding, how many there are, and the worst of them."""

    name: str
    kind: Kind
    total: int
    rows: list[dict[str, Any]]


def write_inspection(folder: AnyPath, inspection: Inspection) -> AnyPath:
    """Write ``scans.parquet`` and ``inspection.json`` with all rows, and the page with the worst; returns the page.

    Parameters
    ----------
    folder : Place
    inspection : Inspection
    """
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
    evenly = [(row, _told(row)) for row in choose_evenly(inspection.scan_stats, TILES)]
    values = {
        **summary,
        "subtitle": " · ".join(_subtitle(inspection, summary)),
        "severity": "error" if summary["errors"] else "warning" if summary["warnings"] else "",
        "colors": COLORS,
        "sentence": verdict(inspection),
        "headline": list(_headline(summary)),
        "kinds_found": list(worst_of_each(inspection.findings)),
        "unseen_kinds": [] if inspection.voxels else [kind.title for kind in KINDS.values() if kind.needs_voxels],
        "tiles": draw_tiles(inspection, evenly),
        "flagged": draw_tiles(inspection, choose_flagged(inspection, FLAGGED_TILES)),
        "charts": inspection_charts(inspection.scan_stats),
        "channel_names": channel_names(inspection.target, len(summary["intensity"])),
        "variants": list(_variants(summary)),
        "split_names": {**SPLIT_NAMES, NO_SPLIT: "No split yet"},
        "masks": inspection.target.masks,
        "outlined": outlined_classes(inspection.target),
        "class_color": class_color,
        "number": number_text,
        "percent": percent,
        "json_file": InspectionFolder(Path()).summary.name,
        "facts_file": InspectionFolder(Path()).scans.name,
    }
    return environment.get_template("inspection.html.jinja").render(values) + "\n"


def verdict(inspection: Inspection) -> str:
    """What came of it, in one sentence."""
    errors, warnings = inspection.errors, inspection.warnings
    looked = "Every voxel was read" if inspection.voxels else "Headers and lists were read, no voxels"
    to_mend = f"{count(errors, 'error')} to mend before training" if errors else "No errors"
    to_see = f"{count(warnings, 'warning')} to look at" if warnings else "no warnings"
    return f"{to_mend}, {to_see}. {looked}."


def worst_of_each(findings: pa.Table) -> Iterator[KindRows]:
    """The first rows of each kind of finding, which are the worst."""
    for name, kind in KINDS.items():
        mine = findings.filter(pc.equal(findings["kind"], name))
        if mine.num_rows:
            yield KindRows(name, kind, mine.num_rows, mine.slice(0, ROWS_SHOWN).to_pylist())


def findings_table(inspection: Inspection) -> Table:
    """The kinds of findings for a terminal, each with its first one."""
    first = Column("the first", overflow="fold")
    table = Table("", "findings", "", first, title=f"inspection of {inspection.target.name}")
    for each in worst_of_each(inspection.findings):
        style = "bold red" if each.kind.severity == ERROR else "yellow"
        row = each.rows[0]
        where = row["path"] or row["scan_id"]
        told = f"{where}: {row['detail']}" if where else row["detail"]
        table.add_row(f"[{style}]{each.kind.severity}[/]", f"{each.total:,}", each.kind.title, Text(told))
    return table


def outline_lines(inspection: Inspection) -> Iterator[str]:
    """The data set in a few lines for a terminal."""
    summary = summarize(inspection)
    for name, value, note in _headline(summary):
        yield f"{name:<10}{value}{f', {note}' if note else ''}"
    for name, values in _variants(summary):
        yield f"{name:<10}{values}"
    for note in summary["notes"]:
        yield f"note      {note}"


def outlined_classes(target: InspectionTarget) -> tuple[str, ...]:
    """What the outlines of a montage stand for; nothing where there are no masks."""
    if target.manifest.scans["label_path"].null_count == target.manifest.scans.num_rows:
        return ()
    return target.mask_classes[1:] or ("mask",)


def channel_names(target: InspectionTarget, count: int) -> list[str]:
    """As the data set names them, or else by their numbers."""
    named = list(target.manifest.channels)
    if len(named) == count:
        return named
    return ["intensity"] if count == 1 else [f"channel {number}" for number in range(count)]


def _subtitle(inspection: Inspection, summary: dict[str, Any]) -> Iterator[str]:
    yield f"{summary['layout']} layout" if summary["layout"] else "loose scans"
    yield count(summary["scans"], "scan")
    yield "every voxel read" if inspection.voxels else "headers only"


def _headline(summary: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Name, value and what stands below it."""
    unread = summary["scans"] - summary["readable"]
    yield "Scans", f"{summary['scans']:,}", f"{unread:,} cannot be read" if unread else ""
    yield "Patients", f"{summary['patients']:,}", ""
    if summary["readable"]:
        yield "Voxels", _middle(summary["extent"], "{:.0f}"), _spread(summary["extent"], "{:.0f}")
        if any(axes for axes in summary["axes"]):
            yield "Spacing", f"{_middle(summary['spacing_mm'], '{:.3g}')} mm", _spread(summary["spacing_mm"], "{:.3g}")
    yield "On disk", bytes_text(summary["size_bytes"]), f"{bytes_text(summary['voxel_bytes'])} in memory"
    if summary["store_bytes"] is not None:
        yield "Store", bytes_text(summary["store_bytes"]), "expected, before compression"


def _middle(ranges: dict[str, list[float]], form: str) -> str:
    return " × ".join(form.format(ranges[axis][1]) for axis in "xyz")


def _spread(ranges: dict[str, list[float]], form: str) -> str:
    """From the lowest to the highest values, where they differ."""
    low, high = (" × ".join(form.format(ranges[axis][end]) for axis in "xyz") for end in (0, 2))
    return "the same in all" if low == high else f"median; {low} to {high}"


def _told(row: dict[str, Any]) -> str:
    # A number alone says nothing below a picture.
    label = f"class {row['label']}" if (row["label"] or "").isdecimal() else row["label"]
    return ", ".join(filter(None, [label, SPLIT_NAMES.get(row["split"] or "", "").lower()]))


def _variants(summary: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """How many scans are of each kind, for what scans of one data set should have in common."""
    for name, key in (("Channels", "channels"), ("Numbers", "dtypes"), ("Axes", "axes"), ("Extents", "extents")):
        counts = {value: number for value, number in summary[key].items() if value}
        if not counts:
            continue
        shown = [f"{value} ({number:,})" for value, number in list(counts.items())[:VALUES_SHOWN]]
        more = f", and {len(counts) - VALUES_SHOWN:,} others" if len(counts) > VALUES_SHOWN else ""
        yield name, ", ".join(shown) + more
