"""Learning curves: losses, validation metrics, learning rate and speed over the epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from voxray.config.training import TrainingSpec
from voxray.reporting.run.contents import RunContents, history_column
from voxray.reporting.text.metric_values import inline_label
from voxray.training.losses import LOSSES
from voxray.visualization.style import (
    INK,
    NARROW,
    SPLIT_COLORS,
    WIDE,
    Floats,
    class_color,
    epoch_axis,
    legend_above,
    legend_text,
    new_axes,
    styled,
    to_svg,
    unit_axis,
)

LEGEND_LETTERS = 44  # of the labels that fit side by side
FEW_EPOCHS = 15  # that are drawn with markers
VALIDATION = SPLIT_COLORS["val"]


@dataclass(frozen=True)
class _Line:
    """A column of the history, and how it is drawn."""

    column: str
    label: str = ""
    color: str = SPLIT_COLORS["train"]
    dash: str = "-"
    mark: str = "o"


# Of each task, the metric that training and validation have in common.
SCORES = {"classification": "accuracy", "segmentation": "dice"}
# Name → axis label, column, factor, and the least upper end of the axis, which starts at 0.
SMALL_CHARTS = {
    "learning-rate": ("learning rate", "learning_rate", 1, 0),
    "data-wait": ("data wait time (%)", "data_wait_share", 100, 9),
    "throughput": ("throughput (patches/s)", "patches_per_s", 1, 0),
}


def learning_charts(run: RunContents) -> dict[str, Markup]:
    """Charts of loss, accuracy or Dice, validation metrics, learning rate, data wait time and throughput by name."""
    loss = f"loss ({LOSSES[run.experiment.training.loss].label})"
    losses = (_Line("train_loss", "training"), _Line("val_loss", "validation", VALIDATION))
    score = SCORES[run.store.info.task]
    scores = (_Line(f"train_{score}", "training"), _Line(f"val_{score}", "validation", VALIDATION))
    metrics, label = _classifier_lines(run.experiment.training), "validation metric"
    if run.store.info.masks:
        metrics, label = _dice_lines(run), "validation Dice"
    return {
        "loss": _wide_chart(run, "loss", loss, losses),
        "score": _wide_chart(run, "score", inline_label(score), scores),
        "validation": _wide_chart(run, "validation", label, metrics),
        **{name: _small_chart(run, name) for name in SMALL_CHARTS},
    }


def _classifier_lines(training: TrainingSpec) -> tuple[_Line, ...]:
    lines = (
        _Line("val_recall", "recall", VALIDATION),
        _Line("val_precision", "precision", "#56b4e9", "--", "s"),
        _Line("val_roc_auc", "ROC AUC", INK, ":", "^"),
    )
    drawn = {"loss", *(line.column.removeprefix("val_") for line in lines)}
    monitors = [name for name in dict.fromkeys((training.monitor, training.stopping_monitor)) if name not in drawn]
    colors = ("#009e73", "#cc79a7")
    return (
        *lines,
        *(
            _Line(f"val_{name}", inline_label(name), color, "-.", "D")
            for name, color in zip(monitors, colors, strict=False)
        ),
    )


def _dice_lines(run: RunContents) -> tuple[_Line, ...]:
    classes = [
        _Line(f"val_dice/{name}", legend_text(name), class_color(label), "--", "s")
        for label, name in enumerate(run.classes)
        if label
    ]
    return (*classes, _Line("val_dice", "mean", INK))


@styled
def _wide_chart(run: RunContents, name: str, label: str, lines: Sequence[_Line]) -> Markup:
    figure, axes = new_axes(WIDE, "epoch", label)
    epochs = history_column(run.history, "epoch")
    for line in lines:
        look: dict[str, Any] = {"color": line.color, "linestyle": line.dash, **_marker(epochs, line.mark)}
        axes.plot(epochs, history_column(run.history, line.column), label=line.label, **look)
    if run.best_epoch is not None:
        axes.axvline(run.best_epoch, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label="best epoch")
    if name in ("validation", "score"):
        unit_axis(axes, y=True)
    epoch_axis(axes, epochs)
    widest = max(len("best epoch"), *(len(line.label) for line in lines))
    legend_above(axes, min(len(lines) + 1, LEGEND_LETTERS // widest))
    return to_svg(figure, name, f"{label} over {len(epochs)} epochs")


@styled
def _small_chart(run: RunContents, name: str) -> Markup:
    label, column, factor, least = SMALL_CHARTS[name]
    figure, axes = new_axes(NARROW, "epoch", label)
    epochs, values = history_column(run.history, "epoch"), factor * history_column(run.history, column)
    axes.plot(epochs, values, color=SPLIT_COLORS["train"], **_marker(epochs, "o"))
    if run.best_epoch is not None:
        axes.axvline(run.best_epoch, color=INK, linewidth=0.9, linestyle=(0, (1, 2)))
    # From zero, so that small changes look small.
    axes.set_ylim(0, 1.1 * np.nanmax(values, initial=least) or 1)
    epoch_axis(axes, epochs)
    return to_svg(figure, name, f"{label} over {len(epochs)} epochs")


def _marker(epochs: Floats, mark: str) -> dict[str, Any]:
    return {"marker": mark if len(epochs) <= FEW_EPOCHS else "", "markersize": 3.5}
