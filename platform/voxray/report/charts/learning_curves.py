"""How the training went: curves over the epochs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from markupsafe import Markup

from voxray.report.run.contents import RunContents, history_column
from voxray.report.text.metric_values import FIGURES
from voxray.training.losses import LOSSES
from voxray.visualization.style import (
    INK,
    NARROW,
    SPLIT_COLORS,
    WIDE,
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
VALIDATION = SPLIT_COLORS["val"]


@dataclass(frozen=True)
class _Line:
    """A column of the history, and how it is drawn."""

    column: str
    label: str = ""
    color: str = SPLIT_COLORS["train"]
    dash: str = "-"
    mark: str = "o"


def learning_charts(run: RunContents) -> dict[str, Markup]:
    """Loss, validation figures, learning rate, waiting and speed over the epochs, each by its name."""
    loss = f"loss ({LOSSES[run.experiment.training.loss].label})"
    both = (_Line("train_loss", "training"), _Line("val_loss", "validation", VALIDATION))
    figures = _dice_lines(run) if run.store.info.masks else _classifier_lines(run.experiment.training.monitor)
    said = "validation Dice" if run.store.info.masks else "validation figure"
    return {
        "loss": _chart(run, "loss", loss, both, WIDE),
        "figures": _chart(run, "figures", said, figures, WIDE),
        "learning-rate": _chart(run, "learning-rate", "learning rate", (_Line("learning_rate"),), NARROW),
        "waiting": _chart(run, "waiting", "time waiting for data (%)", (_Line("data_wait_share"),), NARROW),
        "speed": _chart(run, "speed", "training speed (patches/s)", (_Line("patches_per_s"),), NARROW),
    }


def _classifier_lines(best: str) -> tuple[_Line, ...]:
    lines = (
        _Line("val_recall", "recall", VALIDATION),
        _Line("val_precision", "precision", "#56b4e9", "--", "s"),
        _Line("val_roc_auc", "ROC AUC", INK, ":", "^"),
    )
    if best == "loss" or f"val_{best}" in [line.column for line in lines]:
        return lines
    # What chose the epoch is there to be seen.
    return (*lines, _Line(f"val_{best}", FIGURES[best][0].lower(), "#009e73", "-.", "D"))


def _dice_lines(run: RunContents) -> tuple[_Line, ...]:
    classes = [
        _Line(f"val_dice/{name}", legend_text(name), class_color(label), "--", "s")
        for label, name in enumerate(run.classes)
        if label
    ]
    return (*classes, _Line("val_dice", "mean", INK))


@styled
def _chart(run: RunContents, name: str, label: str, lines: Sequence[_Line], size: tuple[float, float]) -> Markup:
    figure, axes = new_axes(size, "epoch", label)
    epochs = history_column(run.history, "epoch")
    for line in lines:
        values = history_column(run.history, line.column) * (100 if name == "waiting" else 1)
        # Few epochs are dots as well, so that a run of one epoch shows anything.
        mark = line.mark if len(epochs) <= 15 else ""
        look: dict[str, Any] = {"color": line.color, "linestyle": line.dash, "marker": mark, "markersize": 3.5}
        axes.plot(epochs, values, label=line.label or None, **look)
    if run.best_epoch is not None:
        said = "best epoch" if size == WIDE else None
        axes.axvline(run.best_epoch, color=INK, linewidth=0.9, linestyle=(0, (1, 2)), label=said)
    if name == "figures":
        unit_axis(axes, y=True)
    elif name != "loss":
        # From zero, so that a small change looks small; waiting of a few percent is no mountain either.
        highest = np.nanmax(axes.lines[0].get_ydata(), initial=9 if name == "waiting" else 0)
        axes.set_ylim(0, 1.1 * highest or 1)
    epoch_axis(axes, epochs)
    if size == WIDE:
        widest = max(len("best epoch"), *(len(line.label) for line in lines))
        legend_above(axes, min(len(lines) + 1, LEGEND_LETTERS // widest))
    return to_svg(figure, name, f"{label} over {len(epochs)} epochs")
