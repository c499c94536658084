"""The metrics of each class and their means, as rows of a table for pages and for the terminal."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxray.reporting.text.metric_values import label_of
from voxray.reporting.text.numbers import decimals, interval_text

MEANS = {"macro": "macro mean", "weighted": "weighted mean"}
TERMINAL_DIGITS = 2  # of the ends of intervals


@dataclass(frozen=True)
class ClassRow:
    """A class or a mean: the text of each cell, and the ends of its interval where it has one."""

    title: str
    cells: Sequence[str]
    intervals: Sequence[Sequence[float] | None]


def class_rows(metrics: Mapping[str, Any]) -> list[ClassRow]:
    """The table of one split of ``metrics.json``, the heading first; empty without metrics of classes."""
    if "classes" not in metrics:
        return []
    classes, columns = metrics["classes"], [column for column in metrics["macro"] if column != "intervals"]
    total = sum(row["support"] for row in classes.values())
    rows = dict(classes) | {title: {**metrics[key], "support": total} for key, title in MEANS.items()}
    heading = ClassRow("Class", [*map(label_of, columns), "Support"], [None] * (len(columns) + 1))
    return [heading, *(_row(name, row, columns) for name, row in rows.items())]


def class_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The same table as lines of text; those of intervals are below those of the values."""
    lines: list[list[str]] = []
    for row in class_rows(metrics):
        lines.append([row.title, *row.cells])
        if any(row.intervals):
            lines.append(["", *(_in_brackets(ends) if ends else "" for ends in row.intervals)])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return [
        "  ".join(
            [title.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True))]
        ).rstrip()
        for title, *cells in lines
    ]


def _row(title: str, metrics: Mapping[str, Any], columns: Sequence[str]) -> ClassRow:
    intervals = metrics.get("intervals", {})
    cells = [*(decimals(metrics[column]) for column in columns), f"{metrics['support']:,.0f}"]
    return ClassRow(title, cells, [*map(intervals.get, columns), None])


def _in_brackets(ends: Sequence[float]) -> str:
    return f"[{interval_text(ends[0], ends[1], TERMINAL_DIGITS, between=', ')}]"
