"""The charts of an inspection: extents and spacings, and the intensities of scan after scan."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from voxray.inspection.outliers import column, percentile_array
from voxray.inspection.scan_stats import RANKS
from voxray.report.text.metric_values import number_text
from voxray.visualization.style import MUTED, WIDE, Floats, legend_above, new_axes, styled, to_svg

STRIP, FAN = (7.6, 1.9), (7.6, 3.0)  # inches
COLOR = "#0072b2"
BINS = 30
FAN_SCANS = 400
MOST_CHANNELS = 4
# Beyond that many times the usual height, one scan would flatten all others.
HEIGHT_RATIO = 12
BANDS = ((0.0, 100.0, 0.12), (0.5, 99.5, 0.25), (25.0, 75.0, 0.55))


def inspection_charts(scan_stats: pa.Table) -> dict[str, Markup]:
    """Charts by name: ``extent``, ``spacing`` and, for each channel, ``intensity-N``; as far as scans differ.

    Parameters
    ----------
    facts : pyarrow.Table
        Schema FACTS.
    """
    read = scan_stats.filter(pc.is_valid(scan_stats["channels"]))
    charts = {}
    extents = [column(read, f"{axis}_extent") for axis in "xyz"]
    if any(_differ(each) for each in extents):
        charts["extent"] = _strip("extent", "voxels", extents, whole=True)
    placed = read.filter(pc.not_equal(read["axes"], ""))
    spacings = [column(placed, f"{axis}_spacing_mm") for axis in "xyz"]
    if any(_differ(each) for each in spacings):
        charts["spacing"] = _strip("spacing", "mm", spacings)
    percentiles = percentile_array(scan_stats)
    channels = percentiles.shape[1]
    for channel in range(min(MOST_CHANNELS, channels)):
        mine = dict(zip(RANKS, percentiles[:, channel].T, strict=True))
        if np.isfinite(mine[50.0]).any():
            charts[f"intensity-{channel}"] = _fan(channel, mine, FAN if channels == 1 else WIDE)
    return charts


@styled
def _strip(name: str, unit: str, values: Sequence[Floats], *, whole: bool = False) -> Markup:
    """Three histograms side by side, of x, y and z, with the number of scans upwards."""
    figure = Figure(figsize=STRIP, layout="constrained")
    for place, (axis, mine) in enumerate(zip("xyz", values, strict=True)):
        axes = figure.add_subplot(1, 3, place + 1)
        edges = histogram_edges(mine, whole=whole)
        axes.hist(mine, edges.tolist(), color=COLOR, edgecolor="white", linewidth=0.4)
        axes.set_xlabel(f"{axis} ({unit})")
        axes.grid(visible=False, axis="x")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True, nbins=4))
        axes.xaxis.set_major_locator(MaxNLocator(integer=whole, nbins=5))
        if not _differ(mine):
            # One value is a bar, and no wall.
            axes.set_xlim(0.5 * mine[0], 1.5 * mine[0])
        if place == 0:
            axes.set_ylabel("scans")
    return to_svg(figure, name, f"histograms of the {name} along x, y and z")


def histogram_edges(values: Floats, *, whole: bool = False) -> Floats:
    """Edges of bins that hold all values; bins of whole numbers have them in their middle."""
    low, high = float(values.min()), float(values.max())
    if not _differ(values):
        return np.array([0.97 * low, 1.03 * high])
    if whole:
        step = -(-int(high - low + 1) // BINS)
        return np.arange(low - 0.5, high + step + 0.5, step)
    return np.linspace(low, high, BINS + 1)


def _differ(values: Floats) -> bool:
    """Whether values are not all the same but for rounding."""
    return bool(len(values) and np.ptp(values) > 1e-3 * values.max())


@styled
def _fan(channel: int, percentiles: dict[float, Floats], size: tuple[float, float]) -> Markup:
    """Bands of percentiles, a scan beside the other in the order of their medians."""
    known = np.flatnonzero(np.isfinite(percentiles[50.0]))
    order = known[np.argsort(percentiles[50.0][known], kind="stable")]
    shown = order[np.unique(np.linspace(0, len(order) - 1, min(FAN_SCANS, len(order))).round().astype(int))]
    places = np.linspace(1, len(order), len(shown))
    figure, axes = new_axes(size, "scans, ordered by their median", "intensity")
    # A single scan is a step as wide as any other.
    edges = np.concatenate([[places[0] - 0.5], (places[1:] + places[:-1]) / 2, [places[-1] + 0.5]])
    for low, high, alpha in BANDS:
        label = "all voxels" if (low, high) == (0, 100) else f"{low:g}th to {high:g}th percentile"
        lower, upper = percentiles[low][shown], percentiles[high][shown]
        axes.stairs(upper, edges, baseline=lower, fill=True, color=COLOR, alpha=alpha, linewidth=0, label=label)
    axes.stairs(percentiles[50.0][shown], edges, baseline=None, color="#00324f", linewidth=1.4, label="median")
    axes.set_xlim(edges[0], edges[-1])
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    highest, usual = np.abs(percentiles[100.0][shown]).max(), np.median(np.abs(percentiles[99.5][shown]))
    if highest > HEIGHT_RATIO * usual > 0:
        axes.set_yscale("symlog", linthresh=usual)
        axes.axhline(usual, color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
        axes.set_ylabel("intensity\n(logarithmic above the dots)")
        axes.set_yticks([0, *10.0 ** np.arange(np.ceil(np.log10(usual)), np.log10(highest))])
    axes.yaxis.set_major_formatter(lambda value, _: number_text(value))
    legend_above(axes, 4 if size == FAN else 2)
    return to_svg(figure, f"intensity-{channel}", f"percentiles of the intensities of all scans, channel {channel}")
