"""Charts of the trials of a search."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.ticker import MaxNLocator, NullLocator

from voxray.reporting.text.metric_values import label_of
from voxray.search.costs import COSTS, TrialCost
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
CURVES = {"best": (BEST, 2.0)} | {state: (color, 0.9) for state, color in STATES.items()}
PAPER = {"fc": "w", "ec": "none", "alpha": 0.7, "pad": 0.4}  # behind text that lines cross
AXES_SHOWN = 7


def search_charts(search: Search, ranked: Sequence[Trial], shares: Mapping[str, float]) -> dict[str, Markup]:
    """Pareto fronts, learning curves, importances and parallel coordinates by name, where there is enough data."""
    goal = search.goal
    measured = [trial for trial in ranked if math.isfinite(goal.value(trial))]
    charts = {"importance": _importance(shares)} if shares else {}
    if not measured:
        return charts
    charts |= {f"pareto-{cost.name}": _pareto(goal, measured, cost) for cost in COSTS.values()}
    charts["curves"] = _curves(goal, ranked)
    names = list(shares or measured[0].decisions)[:AXES_SHOWN]
    if len(measured) > 1 and names:
        charts["parallel"] = _parallel(goal, measured, names)
    return charts


@styled
def _pareto(goal: Goal, measured: Sequence[Trial], cost: TrialCost) -> Markup:
    figure, axes = new_axes(WIDE, cost.label, label_of(goal.name))
    dots: dict[str, Any] = {"marker": "o", "markersize": 4.5, "markeredgewidth": 0, "linestyle": ""}
    rings: dict[str, Any] = {"marker": "o", "markersize": 7, "fillstyle": "none", "drawstyle": "steps-post"}
    for state in ("pruned", "finished"):
        trials = [trial for trial in measured if trial.state == state]
        _plot_trials(axes, goal, cost, trials, label=state, color=STATES[state], **dots)
    front = pareto_front(goal, measured, cost)
    _plot_trials(axes, goal, cost, front, label="front", color=BEST, linewidth=1.2, **rings)
    for trial in filter(lambda trial: trial.origin, measured):
        _plot_trials(axes, goal, cost, [trial], marker="D", color=INK, markersize=5, fillstyle="none")
        name, point = legend_text(trial.origin.removesuffix(".json")), (cost.of(trial), goal.value(trial))
        axes.annotate(name, point, textcoords="offset points", xytext=(6, -3), fontsize=8)
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.xaxis.set_major_formatter(lambda value, _: cost.tick(value))
    axes.xaxis.set_minor_locator(NullLocator())
    legend_above(axes, 3)
    return to_svg(figure, f"pareto-{cost.name}", f"{goal.name} against {cost.label} of {len(measured)} trials")


def _plot_trials(axes: Axes, goal: Goal, cost: TrialCost, trials: Sequence[Trial], **look: Any) -> None:
    if trials:
        axes.plot(list(map(cost.of, trials)), list(map(goal.value, trials)), **look)


@styled
def _curves(goal: Goal, ranked: Sequence[Trial]) -> Markup:
    figure, axes = new_axes(WIDE, "epoch", label_of(goal.name))
    labeled: set[str] = set()
    for trial in reversed(ranked):
        state = "best" if trial is ranked[0] and trial.state == "finished" else trial.state
        color, width = CURVES.get(state, (RULE, 0.9))
        for points in _fold_curves(goal, trial):
            label = None if state in labeled else state
            axes.plot(*zip(*points, strict=True), marker="o", markersize=2.5, label=label, color=color, linewidth=width)
            labeled.add(state)
    last = max((row["epoch"] for trial in ranked for row in trial.curve), default=1)
    epoch_axis(axes, np.arange(1.0, last + 1))
    legend_above(axes, 4)
    return to_svg(figure, "curves", f"{goal.name} over the epochs of each trial")


def _fold_curves(goal: Goal, trial: Trial) -> Iterator[list[tuple[int, float]]]:
    """Epochs and values of each fold of a trial that has any."""
    for rows in map(trial.of_fold, range(trial.folds)):
        points = [(row["epoch"], row[goal.column]) for row in rows if row.get(goal.column) is not None]
        if points:
            yield points


@styled
def _importance(shares: Mapping[str, float]) -> Markup:
    figure, axes = new_axes((WIDE[0], 0.7 + 0.24 * len(shares)), "share of the variance explained", "")
    axes.barh(range(len(shares)), [*shares.values()][::-1], height=0.6, color=SPLIT_COLORS["val"])
    axes.set_yticks(range(len(shares)), [_short(name, 34) for name in shares][::-1])
    axes.set_xlim(0, max(0.1, 1.05 * max(shares.values())))
    axes.grid(visible=False, axis="y")
    return to_svg(figure, "importance", "Share of the variance that each hyperparameter explains alone")


@styled
def _parallel(goal: Goal, measured: Sequence[Trial], names: Sequence[str]) -> Markup:
    figure, axes = new_axes((WIDE[0] * 2.1, 3.6), "", "")
    columns = [_positions([trial.decisions.get(name, "–") for trial in measured]) for name in names]
    values = np.array(list(map(goal.value, measured)))
    low, high = float(values.min()), float(values.max())
    columns.append(((values - low) / ((high - low) or 1), [(0.0, f"{low:.3f}"), (1.0, f"{high:.3f}")]))
    lines = np.stack([positions for positions, _ in columns], axis=1)
    order = np.argsort(goal.sign * values)
    # Darker is better; the best finished trial, the first, is drawn last. A pruned one may have had a higher value.
    shades = dict(zip(order.tolist(), Normalize(-0.2, 1)(np.linspace(0, 1, len(order))), strict=True))
    for trial in order[order != 0].tolist():
        axes.plot(lines[trial], color=colormaps["Blues"](shades[trial]), linewidth=1.0, alpha=0.8)
    axes.plot(lines[0], color=BEST, linewidth=2.2)
    for column, (_, ticks) in enumerate(columns):
        axes.axvline(column, color=MUTED, linewidth=0.8)
        for position, text in ticks:
            axes.text(column + 0.03, position, text, fontsize=7.5, va="center", color=INK, bbox=PAPER)
    axes.set_xticks(range(len(columns)), [*(_short(name, 18) for name in names), label_of(goal.name)], fontsize=8)
    axes.set_yticks([])
    axes.set_ylim(-0.06, 1.06)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.grid(visible=False)
    return to_svg(figure, "parallel", f"Hyperparameters of {len(measured)} trials, the best one highlighted")


def _positions(labels: Sequence[Label]) -> tuple[Floats, list[tuple[float, str]]]:
    """Positions of labels on an axis from 0 to 1, and its ticks; fractions are placed by their logarithm."""
    fractions = [label for label in labels if isinstance(label, float) and label > 0]
    if len(fractions) == len(labels) and len(set(fractions)) > 1:
        logs = np.log(np.asarray(fractions))
        low, high = logs.min(), logs.max()
        return (logs - low) / (high - low), [(0.0, f"{math.exp(low):.2g}"), (1.0, f"{math.exp(high):.2g}")]
    distinct = sorted(set(labels), key=_order)
    positions = {label: (number + 0.5) / len(distinct) for number, label in enumerate(distinct)}
    ticks = [(position, _short(str(label), 14)) for label, position in positions.items()]
    return np.array([positions[label] for label in labels]), ticks


def _order(label: Label) -> tuple[bool, float, str]:
    """Numbers by value, then text."""
    return (False, float(label), "") if isinstance(label, int | float) else (True, 0.0, str(label))


def _short(name: str, letters: int) -> str:
    return name if len(name) <= letters else "…" + name[1 - letters :]
