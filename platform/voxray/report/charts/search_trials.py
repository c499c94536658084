"""Charts of a search."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator, NullLocator

from voxray.report.text.metric_values import FIGURES
from voxray.search.plan import Search
from voxray.search.results import pareto_front
from voxray.search.space.distributions import Label
from voxray.search.trials import Goal, Trial
from voxray.visualization.style import (
    INK,
    MUTED,
    RULE,
    SPLIT_COLORS,
    WIDE,
    Floats,
    epoch_axis,
    legend_above,
    legend_text,
    new_axes,
    styled,
    to_svg,
)

BEST, STATES = "#d55e00", {"finished": SPLIT_COLORS["val"], "pruned": "#9aa5b1", "failed": "#cc79a7"}
PAPER = {"fc": "w", "ec": "none", "alpha": 0.7, "pad": 0.4}  # behind text that lines cross
AXES_SHOWN = 7


def search_charts(search: Search, ranked: Sequence[Trial], shares: Mapping[str, float]) -> dict[str, Markup]:
    """Pareto front, learning curves, importance and parallel coordinates by name; those that say something."""
    goal = search.goal
    known = [trial for trial in ranked if math.isfinite(goal.value(trial))]
    charts = {}
    if known:
        charts["pareto"] = _pareto(goal, known)
        charts["curves"] = _curves(goal, ranked)
    if shares:
        charts["importance"] = _importance(shares)
    names = list(shares)[:AXES_SHOWN] or list(known[0].decisions if known else ())[:AXES_SHOWN]
    if len(known) > 1 and names:
        charts["parallel"] = _parallel(goal, known, names)
    return charts


def figure_name(name: str) -> str:
    """A figure of validation in words."""
    own = {"recall_at_precision": "Recall at the precision asked for", "precision_at_target": "Precision at the recall"}
    return FIGURES[name][0] if name in FIGURES else own.get(name, name.replace("dice", "Dice"))


@styled
def _pareto(goal: Goal, known: Sequence[Trial]) -> Markup:
    figure, axes = new_axes(WIDE, "trainable parameters", figure_name(goal.name))
    for state in ("pruned", "finished"):
        group = [trial for trial in known if trial.state == state]
        if group:
            x, y = [trial.parameters for trial in group], [goal.value(trial) for trial in group]
            axes.plot(x, y, "o", color=STATES[state], markersize=4.5, markeredgewidth=0, label=state)
    front = pareto_front(goal, known)
    if front:
        x, y = [trial.parameters for trial in front], [goal.value(trial) for trial in front]
        look: Any = {"linewidth": 1.2, "marker": "o", "markersize": 7, "fillstyle": "none"}
        axes.plot(x, y, drawstyle="steps-post", color=BEST, label="front", **look)
    starts = [trial for trial in known if trial.origin]
    for trial in starts:
        axes.plot([trial.parameters], [goal.value(trial)], "D", color=INK, markersize=5, fillstyle="none")
        axes.annotate(
            legend_text(trial.origin.removesuffix(".json")),
            (trial.parameters, goal.value(trial)),
            textcoords="offset points",
            xytext=(6, -3),
            fontsize=8,
        )
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_locator(NullLocator())
    legend_above(axes, 3)
    return to_svg(figure, "pareto", f"{goal.name} against parameters of {len(known)} trials")


@styled
def _curves(goal: Goal, ranked: Sequence[Trial]) -> Markup:
    figure, axes = new_axes(WIDE, "epoch", figure_name(goal.name))
    said: set[str] = set()
    for place, trial in reversed(list(enumerate(ranked))):
        state = "best" if place == 0 and trial.state == "finished" else trial.state
        color, width = (BEST, 2.0) if state == "best" else (STATES.get(state, RULE), 0.9)
        for fold in range(trial.folds):
            rows = [(row["epoch"], row[goal.column]) for row in trial.of_fold(fold) if row.get(goal.column) is not None]
            if rows:
                epochs, values = zip(*rows, strict=True)
                label = None if state in said else state
                axes.plot(epochs, values, marker="o", markersize=2.5, label=label, color=color, linewidth=width)
                said.add(state)
    last = max((row["epoch"] for trial in ranked for row in trial.curve), default=1)
    epoch_axis(axes, np.arange(1.0, last + 1))
    legend_above(axes, 4)
    return to_svg(figure, "curves", f"{goal.name} over the epochs of each trial")


@styled
def _importance(shares: Mapping[str, float]) -> Markup:
    figure, axes = new_axes((WIDE[0], 0.7 + 0.24 * len(shares)), "share of the spread explained", "")
    names = list(reversed(list(shares)))
    axes.barh(range(len(names)), [shares[name] for name in names], height=0.6, color=SPLIT_COLORS["val"])
    axes.set_yticks(range(len(names)), [_short(name, 34) for name in names])
    axes.set_xlim(0, max(0.1, 1.05 * max(shares.values())))
    axes.grid(visible=False, axis="y")
    return to_svg(figure, "importance", "How much each decision alone explains")


@styled
def _parallel(goal: Goal, known: Sequence[Trial], names: Sequence[str]) -> Markup:
    figure, axes = new_axes((WIDE[0] * 2.1, 3.6), "", "")
    columns = [_places([trial.decisions.get(name, "–") for trial in known]) for name in names]
    values = np.array([goal.value(trial) for trial in known])
    low, high = float(values.min()), float(values.max())
    columns.append(((values - low) / ((high - low) or 1), [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")]))
    quality = Normalize(-0.2, 1)
    shades = goal.sign * values
    order = np.argsort(shades)
    ranks = np.empty(len(order))
    ranks[order] = np.linspace(0, 1, len(order))
    # The best finished one stands first; a pruned one may have had more for a while, or on one fold.
    for at in [*order[order != 0], 0]:
        line = [column[0][at] for column in columns]
        best = at == 0
        color = BEST if best else colormaps["Blues"](quality(ranks[at]))
        axes.plot(range(len(columns)), line, color=color, linewidth=2.2 if best else 1.0, alpha=1 if best else 0.8)
    for at, (_, ticks) in enumerate(columns):
        axes.axvline(at, color=MUTED, linewidth=0.8)
        for place, text in ticks:
            axes.text(at + 0.03, place, text, fontsize=7.5, va="center", color=INK, bbox=PAPER)
    axes.set_xticks(range(len(columns)), [*(_short(name, 18) for name in names), figure_name(goal.name)], fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.06)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(visible=False)
    return to_svg(figure, "parallel", f"Decisions of {len(known)} trials, the best one marked")


def _places(labels: Sequence[Label]) -> tuple[Floats, list[tuple[float, str]]]:
    """Where labels stand on an axis from 0 to 1, and its ticks; fractions stand by their logarithm."""
    fractions = [label for label in labels if isinstance(label, float) and label > 0]
    if len(fractions) == len(labels) and len(set(fractions)) > 1:
        logs = np.log(np.asarray(fractions))
        low, high = logs.min(), logs.max()
        return (logs - low) / (high - low), [(0.0, f"{math.exp(low):.2g}"), (1.0, f"{math.exp(high):.2g}")]
    kinds = sorted(set(labels), key=_order)
    places = {label: (number + 0.5) / len(kinds) for number, label in enumerate(kinds)}
    ticks = [(place, _short(str(label), 14)) for label, place in places.items()]
    return np.array([places[label] for label in labels]), ticks


def _order(label: Label) -> tuple[bool, float, str]:
    """Numbers by their size, then all else by its text."""
    return (False, float(label), "") if isinstance(label, int | float) else (True, 0.0, str(label))


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else "…" + name[1 - letters :]
