"""The charts of a report: learning curves, ROC, precision-recall, scores, calibration."""

from collections.abc import Mapping, Sequence

import numpy as np
from markupsafe import Markup
from matplotlib.axes import Axes

from voxray.evaluation.classification import Floats, precision_recall_curve, roc_curve
from voxray.report.contents import RunContents, SplitPredictions, history_column
from voxray.report.drawing import (
    CLASS_COLOURS,
    DASHES,
    INK,
    MUTED,
    NARROW,
    SPLIT_COLOURS,
    SQUARE,
    WIDE,
    epoch_axis,
    legend_above,
    new_axes,
    styled,
    thin_curve,
    to_svg,
    unit_axis,
)
from voxray.report.wording import SPLIT_NAMES, decimals

BINS = 25
CALIBRATION_BINS = 10
NAMED_CURVES = 10

LEARNING = (
    # name, y label, columns with label and colour or dash, size
    ("loss", "loss (cross-entropy, nats)", (("train_loss", "training"), ("val_loss", "validation")), WIDE),
    ("figures", "validation figure", (("val_recall", "recall"), ("val_precision", "precision"), ("val_roc_auc", "ROC AUC")), WIDE),
    ("learning-rate", "learning rate", (("learning_rate", ""),), NARROW),
    ("waiting", "time waiting for data (%)", (("data_wait_share", ""),), NARROW),
    ("speed", "training speed (patches/s)", (("patches_per_s", ""),), NARROW),
)


def learning_charts(run: RunContents) -> dict[str, Markup]:
    """Loss, validation figures, learning rate, waiting and speed over the epochs, each by its name."""
    return {name: _learning_chart(run, name, label, columns, size) for name, label, columns, size in LEARNING}


@styled
def _learning_chart(
    run: RunContents, name: str, label: str, columns: Sequence[tuple[str, str]], size: tuple[float, float]
) -> Markup:
    figure, axes = new_axes(size, "epoch", label)
    epochs = history_column(run.history, "epoch")
    for number, (column, text) in enumerate(columns):
        values = history_column(run.history, column) * (100 if name == "waiting" else 1)
        colour = SPLIT_COLOURS["train"] if column == "train_loss" or size == NARROW else SPLIT_COLOURS["val"]
        dash = DASHES[number] if name == "figures" else "-"
        # Few epochs are dots as well, so that a run of one epoch shows anything.
        mark = "o" if len(epochs) <= 15 else ""
        axes.plot(epochs, values, color=colour, linestyle=dash, marker=mark, markersize=3.5, label=text or None)
    if run.best_epoch is not None:
        axes.axvline(run.best_epoch, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label="best epoch" if size == WIDE else None)
    if name == "figures":
        unit_axis(axes, y=True)
    elif name != "loss" or not len(epochs):
        axes.set_ylim(bottom=0)
    if name == "waiting":
        axes.set_ylim(0, max(10.0, axes.get_ylim()[1]))
    epoch_axis(axes, epochs)
    if size == WIDE:
        legend_above(axes, len(columns) + 1)
    return to_svg(figure, name, f"{label} over {len(epochs)} epochs")


def curve_charts(run: RunContents) -> dict[str, Markup]:
    """ROC and precision-recall curves by name: of all splits together, or of each split when there are more classes."""
    if len(run.classes) == 2:
        return {"roc": _roc(run, run.splits), "precision-recall": _precision_recall(run, run.splits)}
    charts = {}
    for split in run.splits:
        charts[f"roc-{split}"] = _roc(run, (split,))
        charts[f"precision-recall-{split}"] = _precision_recall(run, (split,))
    return charts


@styled
def _roc(run: RunContents, splits: Sequence[str]) -> Markup:
    figure, axes = new_axes(SQUARE, "false-positive rate (1 − specificity)", "recall (sensitivity)")
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    for label, colour, dash, truth, scores, split in _curves(run, splits):
        false_rate, recall, _ = roc_curve(truth, scores)
        text = f"{label}, AUC {decimals(run.metrics[split].get('roc_auc'))}" if len(run.classes) == 2 else label
        axes.plot(*thin_curve(false_rate, recall), color=colour, linestyle=dash, label=text)
    for split, (false_rate, recall, _) in _operating_points(run, splits).items():
        _mark(axes, false_rate, recall, SPLIT_COLOURS[split])
    unit_axis(axes, x=True, y=True)
    _curve_legend(axes, run, "lower right")
    return to_svg(figure, _name("roc", run, splits), f"ROC curve, {_named(splits)}")


@styled
def _precision_recall(run: RunContents, splits: Sequence[str]) -> Markup:
    figure, axes = new_axes(SQUARE, "recall (sensitivity)", "precision")
    for label, colour, dash, truth, scores, split in _curves(run, splits):
        precision, recall, _ = precision_recall_curve(truth, scores)
        text = f"{label}, AP {decimals(run.metrics[split].get('average_precision'))}" if len(run.classes) == 2 else label
        axes.plot(*thin_curve(recall, precision), color=colour, linestyle=dash, label=text)
        if len(run.classes) == 2:
            axes.axhline(truth.mean(), color=colour, linewidth=0.8, linestyle=(0, (1, 2)))
    for split, (_, recall, precision) in _operating_points(run, splits).items():
        _mark(axes, recall, precision, SPLIT_COLOURS[split])
    unit_axis(axes, x=True, y=True)
    _curve_legend(axes, run, "lower left")
    return to_svg(figure, _name("precision-recall", run, splits), f"Precision-recall curve, {_named(splits)}")


def score_charts(run: RunContents) -> dict[str, Markup]:
    """How the scores of each class are spread, for each split, and calibration."""
    charts = {f"scores-{split}": _scores(run, split) for split in run.splits}
    return {**charts, "calibration": _calibration(run)}


@styled
def _scores(run: RunContents, split: str) -> Markup:
    two = len(run.classes) == 2
    said = f"probability of {run.classes[1]}" if two else "probability given to the true class"
    figure, axes = new_axes(WIDE, said, "patches of the class (%)")
    predictions = run.predictions[split]
    scores = predictions.probabilities[:, 1] if two else predictions.truth_probabilities()
    edges = np.linspace(0, 1, BINS + 1)
    for number, name in enumerate(run.classes):
        mine = scores[predictions.labels == number]
        if not len(mine):
            continue
        share = 100 * np.histogram(mine, edges)[0] / len(mine)
        colour = CLASS_COLOURS[number % len(CLASS_COLOURS)]
        dash = DASHES[number // len(CLASS_COLOURS) % len(DASHES)]
        if two:
            axes.stairs(share, edges, fill=True, color=colour, alpha=0.25)
        axes.stairs(share, edges, color=colour, linewidth=1.5, linestyle=dash, label=f"{name} ({len(mine):,})")
    if two and run.threshold is not None:
        label = f"threshold {run.threshold:.3f}"
        axes.axvline(run.threshold, color=INK, linewidth=1.1, linestyle=(0, (4, 2)), label=label)
    unit_axis(axes, x=True)
    axes.set_ylim(bottom=0)
    if axes.get_legend_handles_labels()[0]:
        legend_above(axes, 3 if two else 4)
    return to_svg(figure, f"scores-{split}", f"Distribution of the {said}, {SPLIT_NAMES[split].lower()}")


@styled
def _calibration(run: RunContents) -> Markup:
    two = len(run.classes) == 2
    said, seen = (f"predicted probability of {run.classes[1]}", f"share that is {run.classes[1]}")
    if not two:
        said, seen = "probability of the called class", "share that is called right"
    figure, axes = new_axes(SQUARE, said, seen)
    axes.plot([0, 1], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (1, 2)))
    for split in run.splits:
        predicted, observed, sizes = calibration_bins(*_calls(run.predictions[split], two))
        areas = 8 + 80 * sizes / max(sizes.max(initial=1), 1)
        colour = SPLIT_COLOURS[split]
        axes.plot(predicted, observed, color=colour, linewidth=1.2, label=SPLIT_NAMES[split].lower())
        axes.scatter(predicted, observed, s=areas, color=colour, edgecolor="white", linewidth=0.6, zorder=3)
    unit_axis(axes, x=True, y=True)
    axes.legend(loc="upper left")
    return to_svg(figure, "calibration", f"Calibration: {seen} against {said}")


def calibration_bins(predicted: Floats, happened: Floats) -> tuple[Floats, Floats, Floats]:
    """Mean prediction, observed share and size of each bin of ten that holds anything."""
    member = np.minimum((predicted * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    sizes = np.bincount(member, minlength=CALIBRATION_BINS).astype(np.float64)
    used = sizes > 0
    means = [np.bincount(member, values, CALIBRATION_BINS)[used] / sizes[used] for values in (predicted, happened)]
    return means[0], means[1], sizes[used]


def _calls(predictions: SplitPredictions, two: bool) -> tuple[Floats, Floats]:
    if two:
        return predictions.probabilities[:, 1], (predictions.labels == 1).astype(np.float64)
    right = predictions.called(None) == predictions.labels
    return predictions.probabilities.max(axis=1, initial=0), right.astype(np.float64)


def _curves(run: RunContents, splits: Sequence[str]) -> list[tuple[str, str, str, np.ndarray, Floats, str]]:  # type: ignore[type-arg]
    """Label, colour, dash, truth and scores of every curve that can be drawn: both kinds of patch must be there."""
    two = len(run.classes) == 2
    curves = []
    for split in splits:
        predictions = run.predictions[split]
        for number, name in [(1, run.classes[1])] if two else list(enumerate(run.classes)):
            truth = (predictions.labels == number).astype(np.int64)
            if not 0 < truth.sum() < len(truth):
                continue
            label = SPLIT_NAMES[split].lower() if two else name if number < NAMED_CURVES else ""
            colour = SPLIT_COLOURS[split] if two else CLASS_COLOURS[number % len(CLASS_COLOURS)]
            dash = "-" if two else DASHES[number // len(CLASS_COLOURS) % len(DASHES)]
            curves.append((label, colour, dash, truth, predictions.probabilities[:, number], split))
    return curves


def _operating_points(run: RunContents, splits: Sequence[str]) -> Mapping[str, tuple[float, float, float]]:
    """False-positive rate, recall and precision of each split at the threshold, where all three have a value."""
    if len(run.classes) != 2 or run.threshold is None:
        return {}
    points = {}
    for split in splits:
        (quiet, alarms), (missed, found) = run.metrics[split]["confusion_matrix"]
        if quiet + alarms and missed + found and alarms + found:
            points[split] = (alarms / (quiet + alarms), found / (missed + found), found / (alarms + found))
    return points


def _mark(axes: Axes, x: float, y: float, colour: str) -> None:
    axes.plot([x], [y], "o", markersize=8, color=colour, markeredgecolor="white", markeredgewidth=1.4, zorder=4)


def _curve_legend(axes: Axes, run: RunContents, place: str) -> None:
    if len(run.classes) == 2 and run.threshold is not None:
        axes.plot([], [], "o", color=MUTED, markersize=6, label=f"threshold {run.threshold:.3f}")
    if axes.get_legend_handles_labels()[0]:
        axes.legend(loc=place, borderaxespad=0.8)


def _name(kind: str, run: RunContents, splits: Sequence[str]) -> str:
    return kind if len(run.classes) == 2 else f"{kind}-{splits[0]}"


def _named(splits: Sequence[str]) -> str:
    return " and ".join(SPLIT_NAMES[split].lower() for split in splits)
