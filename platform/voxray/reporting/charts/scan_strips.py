"""Metrics of whole scans as strip charts: a dot for each scan, a row for each class."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from voxray.metrics.metric import Metric
from voxray.reporting.run.contents import Case, RunContents
from voxray.reporting.text.metric_values import axis_label, describe
from voxray.reporting.text.numbers import SPLIT_NAMES
from voxray.visualization.style import (
    INK,
    WIDE,
    Floats,
    class_color,
    legend_above,
    legend_text,
    new_axes,
    styled,
    to_svg,
)

SCAN_METRICS = ("dice", "hd95_mm")  # that strips and tables of scans have
SWARM_BINS = 70
SPREAD = 0.3  # of a row
MOST_APART = 0.07
MARKS = {"Best case": "^", "Median case": "D", "Worst case": "v", "Only case": "D"}


@dataclass(frozen=True)
class Strip:
    """The chart of one metric of one split, with the metric's label and direction."""

    label: str
    note: str
    chart: Markup


def strip_charts(run: RunContents, chosen: dict[str, list[tuple[str, Case]]]) -> dict[str, list[Strip]]:
    """Dice and HD95 per class and scan, for each split; `chosen` are the scans to mark of a split with their titles."""
    strips: dict[str, list[Strip]] = {split: [] for split in run.splits}
    for split, name in product(run.splits, SCAN_METRICS):
        columns = set(chain.from_iterable(run.cases[split]))
        if not columns.isdisjoint(f"{name}/{class_name}" for class_name in run.classes[1:]):
            metric = describe(name)
            note = "higher is better" if metric.higher_is_better else "lower is better"
            strips[split].append(Strip(metric.label, note, _strip(run, split, metric, chosen.get(split, []))))
    return strips


@styled
def _strip(run: RunContents, split: str, metric: Metric, chosen: Sequence[tuple[str, Case]]) -> Markup:
    name, classes = metric.name, run.classes[1:]
    width, _ = WIDE
    figure, axes = new_axes((width, 0.95 + 0.7 * len(classes)), axis_label(metric), "")
    rows = [_values(run.cases[split], f"{name}/{class_name}") for class_name in classes]
    for row, values in enumerate(rows):
        if len(values):
            _draw_row(axes, values, row, class_color(row + 1))
    look: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": INK, "markeredgewidth": 1.1}
    positions = np.arange(len(classes)) + 0.4  # below the dots, so that no dot is hidden
    for title, case in chosen:
        marked = [case.get(f"{name}/{class_name}", math.nan) for class_name in classes]
        axes.plot(marked, positions, MARKS[title], label=title.lower(), zorder=5, markersize=5.5, **look)
    axes.set_yticks(range(len(classes)), [legend_text(class_name) for class_name in classes])
    axes.set_ylim(len(classes) - 0.45, -0.5)
    axes.grid(visible=False, axis="y")
    _limit(axes, np.concatenate(rows), is_share=metric.is_share)
    legend_above(axes, len(MARKS))
    description = f"{axis_label(metric)} per class and scan, {SPLIT_NAMES[split].lower()}"
    return to_svg(figure, f"{name}-{split}", description)


def _draw_row(axes: Axes, values: Floats, row: int, color: str) -> None:
    low, median, high = np.percentile(values, [25, 50, 75])
    axes.fill_between([low, high], row - 0.36, row + 0.3, color=color, alpha=0.22, linewidth=0)
    axes.plot([median, median], [row - 0.36, row + 0.3], color=INK, linewidth=1.6, zorder=4)
    look: dict[str, Any] = {"color": color, "markersize": 4.2, "markeredgecolor": "white", "markeredgewidth": 0.5}
    axes.plot(values, row - 0.03 + swarm(values), "o", **look)


def swarm(values: Floats) -> Floats:
    """Offsets, within ±SPREAD, that separate dots of nearly equal values: 0, then alternately to either side."""
    span = float(np.ptp(values)) or 1.0
    bins = np.minimum(((values - values.min()) / span * SWARM_BINS).astype(np.int64), SWARM_BINS - 1)
    offsets = np.zeros(len(values))
    for number in np.unique(bins):
        members = np.flatnonzero(bins == number)
        ranks = np.arange(len(members))
        step = min(MOST_APART, 2 * SPREAD / max(len(members), 1))
        offsets[members] = (-1.0) ** ranks * np.ceil(ranks / 2) * step
    return offsets


def _limit(axes: Axes, values: Floats, *, is_share: bool) -> None:
    """From 0, or for shares that are all high from the tenth below the lowest."""
    if not is_share:
        highest = float(values.max(initial=0)) or 1
        axes.set_xlim(-0.03 * highest, 1.06 * highest)
        return
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    low = min(0.9, np.floor(10 * float(values.min(initial=1)) - 1e-9) / 10)
    margin = 0.02 * (1 - low)
    axes.set_xlim(max(low, 0) - margin, 1 + margin)


def _values(cases: Sequence[Case], key: str) -> Floats:
    values = np.array([case.get(key, math.nan) for case in cases], dtype=np.float64)
    return values[np.isfinite(values)]
