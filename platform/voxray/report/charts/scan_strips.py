"""Figures of whole scans as strips: a dot for each scan, a row for each class."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from voxray.report.run.contents import Case, RunContents
from voxray.report.text.metric_values import SPLIT_NAMES
from voxray.report.text.scan_sentences import family_of
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

STRIPS = ("dice", "hd95_mm")
SWARM_BINS = 70
SPREAD = 0.3  # of a row
MOST_APART = 0.07
MARKS = {"Best case": "^", "Median case": "D", "Worst case": "v", "Only case": "D"}


def strip_charts(run: RunContents, chosen: dict[str, list[tuple[str, Case]]]) -> dict[str, Markup]:
    """Dice and HD95 per class and scan for each split, by names such as ``dice-val``.

    Parameters
    ----------
    run : RunContents
    chosen : dict
        Split → scans to mark, each with its title.
    """
    return {
        f"{stem}-{split}": _strip(run, split, stem, chosen.get(split, []))
        for split in run.splits
        for stem in STRIPS
        if any(f"{stem}/{name}" in case for case in run.cases[split] for name in run.classes[1:])
    }


@styled
def _strip(run: RunContents, split: str, stem: str, chosen: Sequence[tuple[str, Case]]) -> Markup:
    family = family_of(stem)
    names = run.classes[1:]
    width, _ = WIDE
    said = f"{family.name} ({family.unit})" if family.unit else family.name
    figure, axes = new_axes((width, 0.95 + 0.7 * len(names)), said, "")
    every = []
    for row, name in enumerate(names):
        values = _values(run.cases[split], f"{stem}/{name}")
        every.append(values)
        if len(values):
            _draw_row(axes, values, row, class_color(row + 1))
    for title, case in chosen:
        places = [case.get(f"{stem}/{name}", math.nan) for name in names]
        look: dict[str, Any] = {
            "markersize": 5.5,
            "markerfacecolor": "white",
            "markeredgecolor": INK,
            "markeredgewidth": 1.1,
        }
        # Below the dots, so that it hides none.
        axes.plot(places, np.arange(len(names)) + 0.4, MARKS[title], label=title.lower(), zorder=5, **look)
    axes.set_yticks(range(len(names)), [legend_text(name) for name in names])
    axes.set_ylim(len(names) - 0.45, -0.5)
    axes.grid(visible=False, axis="y")
    _limit(axes, np.concatenate(every), is_share=family.is_share)
    legend_above(axes, len(MARKS))
    return to_svg(figure, f"{stem}-{split}", f"{said} per class and scan, {SPLIT_NAMES[split].lower()}")


def _draw_row(axes: Axes, values: Floats, row: int, color: str) -> None:
    low, middle, high = np.percentile(values, [25, 50, 75])
    axes.fill_between([low, high], row - 0.36, row + 0.3, color=color, alpha=0.22, linewidth=0)
    axes.plot([middle, middle], [row - 0.36, row + 0.3], color=INK, linewidth=1.6, zorder=4)
    look: dict[str, Any] = {"color": color, "markersize": 4.2, "markeredgecolor": "white", "markeredgewidth": 0.5}
    axes.plot(values, row - 0.03 + swarm(values), "o", **look)


def swarm(values: Floats) -> Floats:
    """Offsets, within ±SPREAD, that keep dots of nearly equal values apart: 0, then by turns to either side."""
    span = float(np.ptp(values)) or 1.0
    member = np.minimum(((values - values.min()) / span * SWARM_BINS).astype(np.int64), SWARM_BINS - 1)
    offsets = np.zeros(len(values))
    for number in np.unique(member):
        mine = np.flatnonzero(member == number)
        ranks = np.arange(len(mine))
        step = min(MOST_APART, 2 * SPREAD / max(len(mine), 1))
        offsets[mine] = (-1.0) ** ranks * np.ceil(ranks / 2) * step
    return offsets


def _limit(axes: Axes, values: Floats, *, is_share: bool) -> None:
    """From 0, or for shares that are all high from the tenth below the lowest."""
    if not is_share:
        highest = float(values.max(initial=0)) or 1
        axes.set_xlim(-0.03 * highest, 1.06 * highest)
        return
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    low = min(0.9, np.floor(10 * float(values.min(initial=1)) - 1e-9) / 10)
    room = 0.02 * (1 - low)
    axes.set_xlim(max(low, 0) - room, 1 + room)


def _values(cases: Sequence[Case], key: str) -> Floats:
    values = np.array([case.get(key, math.nan) for case in cases], dtype=np.float64)
    return values[np.isfinite(values)]
