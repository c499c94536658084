"""The metrics of each class and their means, as rows of a table for pages and for the terminal."""

from collections.abc import Mapping
from typing import Any

from voxray.reporting.text.metric_values import label_of
from voxray.reporting.text.numbers import decimals

MEANS = {"macro": "macro mean", "weighted": "weighted mean"}


def class_rows(metrics: Mapping[str, Any]) -> list[list[str]]:
    """The cells of the table of one split of ``metrics.json``, the heading first; none without metrics of classes."""
    if "classes" not in metrics:
        return []
    classes, columns = metrics["classes"], list(metrics["macro"])
    total = sum(row["support"] for row in classes.values())
    rows = dict(classes) | {title: {**metrics[key], "support": total} for key, title in MEANS.items()}
    heading = ["Class", *map(label_of, columns), "Support"]
    return [
        heading,
        *([name, *(decimals(row[key]) for key in columns), f"{row['support']:,.0f}"] for name, row in rows.items()),
    ]


def class_lines(metrics: Mapping[str, Any]) -> list[str]:
    """The same table as lines of text."""
    rows = class_rows(metrics)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        )
        for row in rows
    ]
