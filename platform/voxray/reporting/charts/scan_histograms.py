"""The charts of an inspection: histograms of shape and spacing, and intensity percentiles of every scan."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from voxray.inspection.outliers import column, percentile_array
from voxray.inspection.scan_stats import RANKS
from voxray.reporting.text.numbers import number_text
from voxray.visualization.style import MUTED, WIDE, Floats, legend_above, new_axes, styled, to_svg

STRIP, FAN = (7.6, 1.9), (7.6, 3.0)  # inches
COLOR = "#0072b2"
BINS = 30
FAN_SCANS = 400
MOST_CHANNELS = 4
LOG_RATIO = 12  # A highest intensity beyond this many times the usual one makes the axis logarithmic.
BANDS = ((0.0, 100.0, 0.12), (0.5, 99.5, 0.25), (25.0, 75.0, 0.55))


def inspection_charts(scan_stats: pa.Table) -> dict[str, Markup]:
    """Charts by name: ``extent``, ``spacing`` and, for each channel, ``intensity-N``; where scans differ."""
    read = scan_stats.filter(pc.is_valid(scan_stats["channels"]))
    with_axes = read.filter(pc.not_equal(read["axes"], ""))
    charts = {}
    for name, unit, table, key in (("extent", "voxels", read, "extent"), ("spacing", "mm", with_axes, "spacing_mm")):
        sizes = [column(table, f"{axis}_{key}") for axis in "xyz"]
        if any(map(_differ, sizes)):
            charts[name] = _strip(name, unit, sizes, whole=name == "extent")
    percentiles = percentile_array(scan_stats)
    channels = percentiles.shape[1]
    for channel in range(min(MOST_CHANNELS, channels)):
        by_rank = dict(zip(RANKS, percentiles[:, channel].T, strict=True))
        if np.isfinite(by_rank[50.0]).any():
            charts[f"intensity-{channel}"] = _fan(channel, by_rank, FAN if channels == 1 else WIDE)
    return charts


@styled
def _strip(name: str, unit: str, values: Sequence[Floats], *, whole: bool) -> Markup:
    """Three histograms side by side, of x, y and z."""
    figure = Figure(figsize=STRIP, layout="constrained")
    for position, (axis, sizes) in enumerate(zip("xyz", values, strict=True)):
        axes = figure.add_subplot(1, 3, position + 1)
        edges = histogram_edges(sizes, whole=whole)
        axes.hist(sizes, edges.tolist(), color=COLOR, edgecolor="white", linewidth=0.4)
        axes.set_xlabel(f"{axis} ({unit})")
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.xaxis.set_major_locator(MaxNLocator(integer=whole, nbins=5))
        if not _differ(sizes):
            # A single value is a narrow bar.
            axes.set_xlim(0.5 * sizes[0], 1.5 * sizes[0])
        if position == 0:
            axes.set_ylabel("scans")
    return to_svg(figure, name, f"histograms of the {name} along x, y and z")


def histogram_edges(values: Floats, *, whole: bool = False) -> Floats:
    """Edges of bins that hold all values; bins of whole numbers are centered on them."""
    low, high = float(values.min()), float(values.max())
    if not _differ(values):
        return np.array([0.97 * low, 1.03 * high])
    if whole:
        step = -(-int(high - low + 1) // BINS)
        return np.arange(low - 0.5, high + step + 0.5, step)
    return np.linspace(low, high, BINS + 1)


def _differ(values: Floats) -> bool:
    """Whether values differ by more than rounding."""
    return bool(len(values) and np.ptp(values) > 1e-3 * values.max())


@styled
def _fan(channel: int, percentiles: dict[float, Floats], size: tuple[float, float]) -> Markup:
    """Bands of percentiles, one scan beside the other in the order of their medians."""
    measured = np.flatnonzero(np.isfinite(percentiles[50.0]))
    order = measured[np.argsort(percentiles[50.0][measured], kind="stable")]
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(FAN_SCANS, len(order))).round().astype(int))]
    centers = np.linspace(1, len(order), len(shown))
    figure, axes = new_axes(size, "scans, ordered by median", "intensity")
    # A single scan is a step as wide as any other.
    edges = np.concatenate([[centers[0] - 0.5], (centers[1:] + centers[:-1]) / 2, [centers[-1] + 0.5]])
    for low, high, alpha in BANDS:
        label = "all voxels" if (low, high) == (0, 100) else f"{low:g}th to {high:g}th percentile"
        lower, upper = percentiles[low][shown], percentiles[high][shown]
        axes.stairs(upper, edges, baseline=lower, fill=True, color=COLOR, alpha=alpha, linewidth=0, label=label)
    axes.stairs(percentiles[50.0][shown], edges, baseline=None, color="#00324f", linewidth=1.4, label="median")
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    highest, usual = np.abs(percentiles[100.0][shown]).max(), np.median(np.abs(percentiles[99.5][shown]))
    if highest > LOG_RATIO * usual > 0:
        axes.set_yscale("symlog", linthresh=usual)
        axes.axhline(usual, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_ylabel("intensity\n(logarithmic above the dotted line)")
        axes.set_yticks([0, *10.0 ** np.arange(np.ceil(np.log10(usual)), np.log10(highest))])
    axes.yaxis.set_major_formatter(lambda value, _: number_text(value))
    legend_above(axes, 4 if size == FAN else 2)
    return to_svg(figure, f"intensity-{channel}", f"percentiles of the intensities of all scans, channel {channel}")
