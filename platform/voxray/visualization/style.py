"""The style of all charts, and matplotlib figures as inline SVG."""

import io
import re
import warnings
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Chart = TypeVar("Chart", bound=Callable[..., Any])

# Okabe and Ito (2008), "Color Universal Design": distinguishable with any kind of color vision.
SPLIT_COLORS = {"train": "#7b8794", "val": "#0072b2", "test": "#d55e00"}
CLASS_COLORS = ("#7b8794", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#0072b2", "#d55e00", "#b8a800")
# Of the labels 1, 2, … of masks: visible on gray scans and on white pages.
MASK_COLORS = ("#e69f00", "#56b4e9", "#009e73", "#cc79a7", "#d55e00", "#0072b2", "#b8a800")
SOFTWARE = "voxray predict"  # in the pictures of predictions, which are told from a user's by it
DASHES = ("-", "--", ":", "-.")
INK, MUTED, RULE = "#1f2933", "#52606d", "#d9dee3"

WIDE, NARROW, SQUARE = (4.9, 2.75), (3.5, 2.3), (3.5, 3.6)  # inches
LEGEND_LINE = 0.17  # inches
CURVE_POINTS = 1500
NAME_LETTERS = 22

STYLE: Any = {
    "text.parse_math": False,  # Names of classes may contain "$".
    "svg.fonttype": "none",
    "svg.hashsalt": "voxray",
    "font.size": 9,
    "axes.labelsize": 9,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "legend.frameon": False,
    "legend.handlelength": 2.2,
    "lines.linewidth": 1.7,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
}


def styled(function: Chart) -> Chart:
    """Draw with the report's style, without changing matplotlib's settings."""
    return rc_context(STYLE)(function)


def new_axes(size: tuple[float, float], x_label: str, y_label: str) -> tuple[Figure, Axes]:
    """A figure of one chart; `size` in inches."""
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure, axes


def unit_axis(axes: Axes, *, x: bool = False, y: bool = False) -> None:
    """Axes from 0 to 1, with a margin for markers at the ends."""
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1]
    if x:
        axes.set_xlim(-0.02, 1.02)
        axes.set_xticks(ticks)
    if y:
        axes.set_ylim(-0.02, 1.02)
        axes.set_yticks(ticks)


def epoch_axis(axes: Axes, epochs: Floats) -> None:
    """Whole epochs only."""
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    if len(epochs):
        axes.set_xlim(epochs[0] - 0.4, epochs[-1] + 0.4)


def class_color(label: int) -> str:
    """Color of a mask's label, from 1 on."""
    return MASK_COLORS[(label - 1) % len(MASK_COLORS)]


def legend_above(axes: Axes, columns: int) -> None:
    """Legend above the chart, where it hides no curve; more than two lines make the figure higher."""
    entries = len(axes.get_legend_handles_labels()[0])
    lines = -(-entries // columns)
    figure = axes.get_figure(root=True)
    if lines > 2 and figure is not None:
        width, height = figure.get_size_inches()
        figure.set_size_inches(width, height + LEGEND_LINE * (lines - 2))
    if entries:
        axes.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=columns, borderaxespad=0.2, columnspacing=1.2)


def legend_text(name: str) -> str:
    """A name from the data, shortened for a legend."""
    short = name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…"
    # Matplotlib omits labels that begin with an underscore.
    return f"\u2060{short}" if short.startswith("_") else short


def thin_curve(x: Floats, y: Floats, limit: int = CURVE_POINTS) -> tuple[Floats, Floats]:
    """At most `limit` points of a curve, evenly along its length, ends included."""
    if len(x) <= limit:
        return x, y
    length = np.concatenate([[0.0], np.cumsum(np.hypot(np.diff(x), np.diff(y)))])
    chosen = np.unique(np.searchsorted(length, np.linspace(0, length[-1], limit)).clip(0, len(x) - 1))
    chosen[0], chosen[-1] = 0, len(x) - 1
    return x[chosen], y[chosen]


def to_svg(figure: Figure, name: str, description: str) -> Markup:
    """A figure as an SVG element; `name` is the prefix of its ids, `description` is for screen readers."""
    sink = io.BytesIO()
    with warnings.catch_warnings():
        # The browser supplies the glyphs that matplotlib's font lacks.
        warnings.filterwarnings("ignore", r"Glyph .* missing from font")
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = sink.getvalue().decode()
    text = text[text.index("<svg") :]
    # A style element would apply to the whole page, and the page sets the fonts.
    text = re.sub(r"\s*<defs>\s*<style.*?</style>\s*</defs>", "", text, count=1, flags=re.DOTALL)
    text = re.sub(r"font-family: [^;\"]*;? ?", "", text)
    text = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", text.replace("xlink:href", "href"))
    head = f'<svg role="img" aria-label="{escape(description)}" id="chart-{name}" '
    text = head + re.sub(r'<svg [^>]*?(viewBox="[^"]*")[^>]*>', r"\1>", text, count=1)
    return Markup(text.replace(" \n", "\n"))  # Safe: matplotlib escaped every text in it.
