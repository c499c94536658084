"""A survey of a space as a table for the terminal and as a picture."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from rich.table import Column, Table

from voxray.console.units import bytes_text, count_text, seconds_text
from voxray.models.cost.estimate import Cost
from voxray.reporting.text.numbers import count
from voxray.runs.folder import SearchFolder
from voxray.search.survey import Survey
from voxray.visualization.style import INK, SPLIT_COLORS, legend_text, styled

SHARES = (0, 10, 50, 90, 100)
BINS = 36
LIMIT = "#d55e00"
REASONS_SHOWN = 8

DECADES = [first * 10.0**power for power in range(15) for first in (1, 3)]
BINARY = [4.0**power for power in range(10, 25)]
TIMES = [0.01, 0.1, 1, 10, 60, 600, 3600, 36000]


class Measure(NamedTuple):
    """A cost: how it is read, written and limited, and its ticks."""

    name: str
    value: Callable[[Cost], float]
    text: Callable[[float], str]
    ticks: Sequence[float]
    limit: int | None


def survey_tables(survey: Survey, seconds_per_flop: float) -> list[Table]:
    """Quantiles of the costs of valid samples, and why the others were rejected.

    `seconds_per_flop` is the time of an epoch for each floating-point operation of training on one patch.
    """
    title = f"{survey.name}: {count(survey.drawn, 'sample')}, {len(survey.costs):,} valid"
    costs = Table(Column("valid samples", no_wrap=True), "min", "10 %", "median", "90 %", "max", title=title)
    for measure in _measures(survey, seconds_per_flop) if survey.costs else ():
        quantiles = np.percentile([measure.value(cost) for cost in survey.costs], SHARES)
        costs.add_row(measure.name, *map(measure.text, quantiles.tolist()))
    if not survey.rejected:
        return [costs]
    rejected = Table("rejected because of", "samples")
    for reason, number in survey.rejected.most_common(REASONS_SHOWN):
        rejected.add_row(reason, f"{number:,}")
    return [costs, rejected]


def write_survey_chart(folder: Path, survey: Survey, base: Cost, base_name: str, seconds_per_flop: float) -> Path:
    """Draw histograms of the costs, with the limits and the experiment's network; returns the picture's file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = SearchFolder(folder).survey
    _draw(survey, base, base_name, seconds_per_flop).savefig(path, dpi=130)
    return path


@styled
def _draw(survey: Survey, base: Cost, base_name: str, seconds_per_flop: float) -> Figure:
    figure = Figure(figsize=(9, 5.6), layout="constrained")
    title = f"{survey.name}: {len(survey.costs):,} of {count(survey.drawn, 'sample')} can be trained"
    figure.suptitle(title, fontsize=11)
    grid: Any = figure.subplots(2, 2)
    for axes, measure in zip(grid.flat, _measures(survey, seconds_per_flop), strict=True):
        _histogram(axes, measure, survey.costs, base, base_name)
    # Only charts with a limit have a line for it.
    entries = [zip(*axes.get_legend_handles_labels(), strict=True) for axes in grid.flat]
    lines = {label: handle for pairs in entries for handle, label in pairs}
    figure.legend(lines.values(), lines.keys(), loc="outside lower center", ncols=2)
    return figure


def _histogram(axes: Axes, measure: Measure, costs: Sequence[Cost], base: Cost, base_name: str) -> None:
    values, mark, limit = [measure.value(cost) for cost in costs], measure.value(base), measure.limit
    drawn = [*values, mark, *([limit] if limit else [])]
    low, high = min(drawn) * 0.95, max(drawn) * 1.05
    axes.hist(values, bins=np.geomspace(low, high, BINS).tolist(), color=SPLIT_COLORS["val"])
    axes.axvline(mark, color=INK, linestyle="--", linewidth=1.3, label=legend_text(base_name))
    if limit:
        axes.axvline(limit, color=LIMIT, linewidth=1.6, label="limit")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(FixedLocator([tick for tick in measure.ticks if low <= tick <= high]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: measure.text(value)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=False, axis="x")
    axes.set_xlabel(measure.name)
    axes.set_ylabel("samples")


def _measures(survey: Survey, seconds_per_flop: float) -> list[Measure]:
    limits = survey.conditions.limits
    return [
        Measure("trainable parameters", lambda cost: cost.parameters, count_text, DECADES, limits.parameters),
        Measure("training memory", lambda cost: cost.peak_bytes, _size_text, BINARY, limits.memory_bytes),
        Measure("FLOPs per patch", lambda cost: cost.forward_flops, count_text, DECADES, limits.flops),
        Measure("estimated epoch time", lambda cost: cost.training_flops * seconds_per_flop, seconds_text, TIMES, None),
    ]


def _size_text(size: float) -> str:
    return bytes_text(round(size))
