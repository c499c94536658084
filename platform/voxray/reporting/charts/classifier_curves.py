"""The charts of a classifier's report: ROC, precision-recall, scores, calibration."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from voxray.metrics.calibration_error import calibration_bins
from voxray.metrics.curves import Floats, Ints
from voxray.reporting.run.contents import RunContents
from voxray.reporting.text.numbers import SPLIT_NAMES, decimals, plural, probability
from voxray.visualization.style import (
    CLASS_COLORS,
    DASHES,
    INK,
    MUTED,
    SPLIT_COLORS,
    SQUARE,
    WIDE,
    legend_above,
    legend_text,
    new_axes,
    styled,
    thin_curve,
    to_svg,
    unit_axis,
)

BINS = 25
NAMED_CURVES = 10
# Name → title, labels of the axes, and the name and the metric of the area under the curve.
CURVES = {
    "roc": ("ROC curve", "false-positive rate (1 − specificity)", "recall (sensitivity)", "AUC", "roc_auc"),
    "precision-recall": ("Precision-recall curve", "recall (sensitivity)", "precision", "AP", "average_precision"),
}
BEFORE = (0, (4, 2))  # dashes of what calibration changed
DOTTED: dict[str, Any] = {"color": MUTED, "linewidth": 0.9, "linestyle": (0, (1, 2))}


@dataclass(frozen=True, eq=False)
class _Curve:
    """The data and look of a ROC or precision-recall curve."""

    label: str
    color: str
    dash: str
    truth: Ints
    scores: Floats
    weights: Floats | None


def curve_charts(run: RunContents) -> dict[str, Markup]:
    """ROC and precision-recall curves by name: of all splits together, or of each split with more than two classes."""
    groups = {"": run.splits} if len(run.classes) == 2 else {f"-{split}": (split,) for split in run.splits}
    return {kind + end: _curve_chart(run, groups[end], kind, kind + end) for end, kind in product(groups, CURVES)}


@styled
def _curve_chart(run: RunContents, splits: Sequence[str], kind: str, name: str) -> Markup:
    title, *labels = CURVES[kind][:3]
    two = len(run.classes) == 2
    figure, axes = new_axes(SQUARE, *labels)
    for curve in _curves(run, splits, kind):
        axes.plot(*_points(kind, curve), color=curve.color, linestyle=curve.dash, label=curve.label)
        if two and kind != "roc":
            axes.axhline(float(np.average(curve.truth, weights=curve.weights)), **{**DOTTED, "color": curve.color})
    if two and run.threshold is not None:
        _draw_threshold(axes, run, kind, run.threshold)
    if two or kind == "roc":
        diagonal = [0, 1] if kind == "roc" else []
        axes.plot(diagonal, diagonal, **DOTTED, label="chance")
    unit_axis(axes, x=True, y=True)
    legend_above(axes, 1 if two and kind != "roc" and run.reweighted else 2)
    return to_svg(figure, name, f"{title}, {' and '.join(SPLIT_NAMES[split].lower() for split in splits)}")


def _points(kind: str, curve: _Curve) -> tuple[Floats, Floats]:
    from sklearn.metrics import precision_recall_curve, roc_curve  # takes a second to import

    data = {"y_true": curve.truth, "y_score": curve.scores, "sample_weight": curve.weights}
    if kind == "roc":
        false_rates, recalls, _ = roc_curve(**data, drop_intermediate=False)
        return thin_curve(false_rates, recalls)
    precisions, recalls, _ = precision_recall_curve(**data)
    # From the highest threshold down, without the last point of scikit-learn, which no threshold gives.
    return thin_curve(recalls[-2::-1], precisions[-2::-1])


def score_charts(run: RunContents) -> dict[str, Markup]:
    """The score distribution of each class and split, and calibration."""
    draw = _score_histogram if len(run.classes) == 2 else _score_ranges
    charts = {f"scores-{split}": draw(run, split) for split in run.splits}
    return {**charts, "calibration": _calibration(run)}


@styled
def _score_histogram(run: RunContents, split: str) -> Markup:
    score = f"probability of {run.classes[1]}"
    figure, axes = new_axes(WIDE, score, f"{plural(run.level)} of the class (%)")
    predictions = run.predictions[split]
    edges = np.linspace(0, 1, BINS + 1)
    for number, name in enumerate(run.classes):
        scores = predictions.probabilities[predictions.labels == number, 1]
        if len(scores):
            share = 100 * np.histogram(scores, edges)[0] / len(scores)
            color = CLASS_COLORS[number]
            axes.stairs(share, edges, fill=True, color=color, alpha=0.25)
            axes.stairs(share, edges, color=color, linewidth=1.5, label=f"{legend_text(name)} ({len(scores):,})")
    if run.threshold is not None:
        label = f"threshold {probability(run.threshold)}"
        axes.axvline(run.threshold, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), label=label)
    unit_axis(axes, x=True)
    axes.set_ylim(bottom=0)
    legend_above(axes, 3)
    return to_svg(figure, f"scores-{split}", f"Distribution of the {score}, {SPLIT_NAMES[split].lower()}")


@styled
def _score_ranges(run: RunContents, split: str) -> Markup:
    """A line per class: median, quartiles and 5th to 95th percentile of the true class's probability."""
    score = "probability of the true class"
    width, height = WIDE
    figure, axes = new_axes((width, max(height, 0.9 + 0.24 * len(run.classes))), score, "")
    predictions = run.predictions[split]
    true_scores = predictions.truth_probabilities()
    for number in range(len(run.classes)):
        scores = true_scores[predictions.labels == number]
        if len(scores):
            low, quarter, median, three_quarters, high = np.percentile(scores, [5, 25, 50, 75, 95])
            color = CLASS_COLORS[number % len(CLASS_COLORS)]
            axes.plot([low, high], [number, number], color=color, linewidth=1.2)
            axes.plot([quarter, three_quarters], [number, number], color=color, linewidth=6, solid_capstyle="butt")
            axes.plot([median], [number], "o", color="white", markeredgecolor=INK, markersize=5)
    axes.set_yticks(range(len(run.classes)), [legend_text(name) for name in run.classes])
    axes.set_ylim(len(run.classes) - 0.5, -0.5)
    unit_axis(axes, x=True)
    return to_svg(figure, f"scores-{split}", f"Range of the {score}, {SPLIT_NAMES[split].lower()}")


@styled
def _calibration(run: RunContents) -> Markup:
    two = len(run.classes) == 2
    x_label, y_label = f"predicted probability of {run.classes[1]}", f"observed share of {run.classes[1]}"
    if not two:
        x_label, y_label = "probability of the predicted class", "observed share of correct predictions"
    figure, axes = new_axes(SQUARE, x_label, y_label)
    for split in run.splits:
        predictions, color = run.predictions[split], SPLIT_COLORS[split]
        labels, weights = predictions.labels, predictions.weights
        if predictions.uncalibrated is not None:
            before = calibration_bins(labels, predictions.uncalibrated, weights)[:2]
            axes.plot(*before, color=color, linewidth=1, linestyle=BEFORE, alpha=0.7)
        predicted, observed, sizes = calibration_bins(labels, predictions.probabilities, weights)
        areas = 8 + 80 * sizes / max(sizes.max(initial=1), 1)
        axes.plot(predicted, observed, color=color, linewidth=1.2, label=_split_name(run, split))
        axes.scatter(predicted, observed, s=areas, color=color, edgecolor="white", linewidth=0.6, zorder=3)
    if any(run.predictions[split].uncalibrated is not None for split in run.splits):
        axes.plot([], [], color=MUTED, linewidth=1, linestyle=BEFORE, label="before calibration")
    axes.plot([], [], "o", color=MUTED, markersize=6, label=f"area: {plural(run.level)}")
    axes.plot([0, 1], [0, 1], **DOTTED, label="perfect")
    unit_axis(axes, x=True, y=True)
    legend_above(axes, 2)
    return to_svg(figure, "calibration", f"Calibration: {y_label} against {x_label}")


def _curves(run: RunContents, splits: Sequence[str], kind: str) -> list[_Curve]:
    """Every curve that is defined: both classes must occur."""
    labels = [1] if len(run.classes) == 2 else range(len(run.classes))
    curves = (_curve(run, split, kind, label) for split in splits for label in labels)
    return [curve for curve in curves if 0 < curve.truth.sum() < len(curve.truth)]


def _curve(run: RunContents, split: str, kind: str, label: int) -> _Curve:
    predictions = run.predictions[split]
    truth, scores = (predictions.labels == label).astype(np.int64), predictions.probabilities[:, label]
    weights = predictions.weights
    if len(run.classes) == 2:
        area, metric = CURVES[kind][3:]
        # The ROC curve of two classes is the same for any mix.
        title = SPLIT_NAMES[split].lower() if kind == "roc" else _split_name(run, split)
        name = f"{title}, {area} {decimals(_of_list(run, split).get(metric))}"
        return _Curve(name, SPLIT_COLORS[split], "-", truth, scores, weights)
    name = legend_text(run.classes[label]) if label < NAMED_CURVES else ""
    cycle, color = divmod(label, len(CLASS_COLORS))
    return _Curve(name, CLASS_COLORS[color], DASHES[cycle % len(DASHES)], truth, scores, weights)


def _of_list(run: RunContents, split: str) -> Mapping[str, Any]:
    """The metrics of a split, where it lost negatives those of the mix of the list, of which the curves are drawn."""
    metrics = run.metrics[split]
    population: Mapping[str, Any] = metrics.get("population", metrics)
    return population


def _split_name(run: RunContents, split: str) -> str:
    name = SPLIT_NAMES[split].lower()
    return name if run.predictions[split].weights is None else f"{name}, re-weighted"


def _draw_threshold(axes: Axes, run: RunContents, kind: str, threshold: float) -> None:
    """A dot for each split where false-positive rate, recall and precision have a value."""
    look: dict[str, Any] = {"markersize": 8, "markeredgecolor": "white", "markeredgewidth": 1.4, "zorder": 4}
    for split in run.splits:
        values = _of_list(run, split)
        recall, specificity, precision = (values[name] for name in ("recall", "specificity", "precision"))
        if None not in (recall, specificity, precision):
            x, y = (1 - specificity, recall) if kind == "roc" else (recall, precision)
            axes.plot([x], [y], "o", color=SPLIT_COLORS[split], **look)
    axes.plot([], [], "o", color=MUTED, markersize=6, label=f"threshold {probability(threshold)}")
