"""What a classifier's report shows beyond what every report does: figures, decisions, hardest mistakes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from voxray.datasets.layouts import find_layout
from voxray.report.charts.classifier_curves import curve_charts, score_charts
from voxray.report.run.contents import RunContents
from voxray.report.run.worst_errors import error_groups, is_one_image
from voxray.report.text.metric_values import (
    FIGURES,
    HEADLINE,
    SPLIT_NAMES,
    Card,
    Figure,
    cautions,
    count,
    decimals,
    make_figure,
    minus,
    operating_sentence,
    percent,
    plural,
)
from voxray.visualization.slices import is_picture, slice_step


@dataclass(frozen=True)
class ConfusionCell:
    """A count, its share of the row in words and as a fraction, and whether it is on the diagonal."""

    number: int
    share: str
    fraction: float
    is_right: bool


def classification_parts(run: RunContents) -> dict[str, Any]:
    """The variables of ``classification.html.jinja`` beside the shared ones."""
    classes, metrics = run.classes, run.metrics
    table = [(key, {split: make_figure(key, metrics[split], classes) for split in run.splits}) for key in FIGURES]
    return {
        "cards": [_card(run, split) for split in run.splits],
        "cautions": cautions({split: metrics[split] for split in run.splits}, classes),
        "figure_table": table,
        "unit": run.unit,
        "units": plural(run.unit),
        "threshold": decimals(run.threshold),
        "missing_notes": list(_missing_notes(run, table)),
        "confusions": {split: _confusion(metrics[split]["confusion_matrix"]) for split in run.splits},
        "curves": curve_charts(run),
        "scores": score_charts(run),
        "oversample_rotations": run.experiment.patches.oversample_rotations,
        "mistakes": error_groups(run),
        "pictures": all(map(is_picture, pc.unique(run.predictions[run.splits[0]].rows["path"]).to_pylist())),
        "gray": _gray(run),
        "one_image": is_one_image(run),
        "slice_step": slice_step(run.store.info.size[2]),
        "flat": run.store.info.size[2] == 1,
    }


def _card(run: RunContents, split: str) -> Card:
    metrics = run.metrics[split]
    confusion = metrics["confusion_matrix"]
    parts = [f"{sum(row):,} {name}" for row, name in zip(confusion, run.classes, strict=True)]
    size = f"{count(metrics['samples'], run.unit)} ({', '.join(parts)})"
    size += f" of {count(metrics['patients'], 'patient')}" if run.unit == "patch" else ""
    again = split != run.splits[0]
    sentence = operating_sentence(split, metrics, run.classes, run.experiment.evaluation.target_recall, again=again)
    figures = tuple(make_figure(key, metrics, run.classes) for key in HEADLINE)
    return Card(split, SPLIT_NAMES[split], size, sentence, figures)


def _gray(run: RunContents) -> str:
    """What black and white stand for in the pictures."""
    if run.experiment.intensity.kind != "window":
        return "gray from the lowest to the highest half percent of each patch and channel"
    unit = f" {find_layout(run.experiment.data.layout).unit}".rstrip()
    return minus("gray from {:g} to {:g}".format(*run.experiment.intensity.windows[0])) + unit


def _missing_notes(run: RunContents, table: list[tuple[str, dict[str, Figure]]]) -> Iterator[str]:
    """Why a figure is an en dash."""
    for _, figures in table:
        for split, figure in figures.items():
            if figure.missing:
                yield f"{figure.name}, {SPLIT_NAMES[split].lower()}: {figure.missing}"
    if len(run.classes) == 2 and run.threshold is None:
        yield f"Threshold: validation has no {run.unit} to choose it on, so the more probable class is called"


def _confusion(counts: list[list[int]]) -> list[list[ConfusionCell]]:
    return [
        [
            ConfusionCell(number, percent(number, sum(row)), number / sum(row) if sum(row) else 0.0, truth == predicted)
            for predicted, number in enumerate(row)
        ]
        for truth, row in enumerate(counts)
    ]
