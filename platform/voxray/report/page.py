"""The report: one HTML file that needs nothing but itself, the same bytes for the same run."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import pyarrow.compute as pc

from voxray.models.shapes import count_parameters, infer_shapes, model_input
from voxray.report.charts import curve_charts, learning_charts, score_charts
from voxray.report.contents import RunContents, history_column
from voxray.report.drawing import CLASS_COLOURS, SPLIT_COLOURS
from voxray.report.mistakes import is_picture, mistake_groups
from voxray.report.origin import GROUPS_SHOWN, count_splits, group_quarantine, trace_patches
from voxray.report.repeat import command_lines, hide_paths, identity_rows, settings_text
from voxray.report.wording import (
    FIGURES,
    HEADLINE,
    MISSING,
    SPLIT_NAMES,
    Figure,
    cautions,
    count,
    decimals,
    make_figure,
    minus,
    operating_sentence,
    percent,
)

TEMPLATE = "page.html.jinja"


@dataclass(frozen=True)
class Card:
    """The headline of one split; the first figure is the one in large type."""

    split: str
    title: str
    size: str
    sentence: str
    figures: tuple[Figure, ...]


@dataclass(frozen=True)
class ConfusionCell:
    """A count, its share of the row in words and as a fraction, and whether it is on the diagonal."""

    number: int
    share: str
    fraction: float
    is_right: bool


def write_report(path: Path, run: RunContents) -> None:
    """Write the report so that it appears whole or not at all.

    Parameters
    ----------
    path : Path
        The HTML file.
    run : RunContents
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(render_page(run), encoding="utf-8")
    temporary.replace(path)


def render_page(run: RunContents) -> str:
    """The report as HTML."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("voxray", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["hide_paths"] = lambda text: hide_paths(str(text), run.experiment)
    environment.filters["thousands"] = lambda number: f"{number:,}"
    parts = {**_result(run), **_learning(run), **_curves(run), **_data(run), **_network(run), **_repeat(run)}
    return environment.get_template(TEMPLATE).render(parts) + "\n"


def _result(run: RunContents) -> dict[str, Any]:
    classes, metrics = run.classes, run.metrics
    table = [(key, {split: make_figure(key, metrics[split], classes) for split in run.splits}) for key in FIGURES]
    return {
        "name": run.experiment.name,
        "subtitle": " · ".join(_subtitle(run)),
        "cards": [_card(run, split) for split in run.splits],
        "cautions": cautions({split: metrics[split] for split in run.splits}, classes),
        "bootstrap": run.experiment.evaluation.bootstrap,
        "splits": run.splits,
        "split_names": SPLIT_NAMES,
        "figure_table": table,
        "missing": MISSING,
        "threshold": decimals(run.threshold),
        "missing_notes": list(_missing_notes(run, table)),
        "colours": {"splits": SPLIT_COLOURS, "classes": CLASS_COLOURS},
    }


def _card(run: RunContents, split: str) -> Card:
    metrics = run.metrics[split]
    confusion = metrics["confusion_matrix"]
    parts = [f"{sum(row):,} {name}" for row, name in zip(confusion, run.classes, strict=True)]
    size = f"{count(metrics['samples'], 'patch')} ({', '.join(parts)}) of {count(metrics['patients'], 'patient')}"
    again = split != run.splits[0]
    sentence = operating_sentence(split, metrics, run.classes, run.experiment.evaluation.target_recall, again=again)
    figures = tuple(make_figure(key, metrics, run.classes) for key in HEADLINE)
    return Card(split, SPLIT_NAMES[split], size, sentence, figures)


def _subtitle(run: RunContents) -> list[str]:
    size = [edge for number, edge in enumerate(run.store.info.size) if number < 2 or edge > 1]
    return [
        f"{run.experiment.data.layout} data",
        f"patches of {' × '.join(map(str, size))} voxels",
        f"{len(size)}D network",
        f"{count(len(run.history), 'epoch')}, the best is {run.best_epoch or MISSING}",
    ]


def _missing_notes(run: RunContents, table: list[tuple[str, dict[str, Figure]]]) -> Iterator[str]:
    """Why a figure is an en dash."""
    for _, figures in table:
        for split, figure in figures.items():
            if figure.missing:
                yield f"{figure.name}, {SPLIT_NAMES[split].lower()}: {figure.missing}"
    if len(run.classes) == 2 and run.threshold is None:
        yield "Threshold: validation has no patch to choose it on, so the more probable class is called"


def _learning(run: RunContents) -> dict[str, Any]:
    training = run.experiment.training
    seconds = history_column(run.history, "seconds")
    wait = history_column(run.history, "data_wait_share")
    waited = float((seconds * wait).sum() / seconds.sum()) if seconds.sum() > 0 else float("nan")
    return {
        "learning": learning_charts(run),
        "best_epoch": run.best_epoch,
        "best_by": f"lowest validation {training.best}"
        if training.best == "loss"
        else f"highest {FIGURES[training.best][0]}",
        "training_time": _duration(float(seconds.sum())),
        "waited": MISSING if waited != waited else percent(waited, 1),
    }


def _curves(run: RunContents) -> dict[str, Any]:
    return {
        "confusions": {split: _confusion(run.metrics[split]["confusion_matrix"]) for split in run.splits},
        "classes": run.classes,
        "curves": curve_charts(run),
        "scores": score_charts(run),
        "rotations": run.experiment.patches.rotations,
        "mistakes": mistake_groups(run),
        "pictures": all(map(is_picture, pc.unique(run.predictions[run.splits[0]].rows["path"]).to_pylist())),
        "window": minus("{:g} to {:g}".format(*run.experiment.intensity.window)),
        "hounsfield": run.experiment.data.layout == "luna16",
        "flat": run.store.info.size[2] == 1,
    }


def _confusion(counts: list[list[int]]) -> list[list[ConfusionCell]]:
    return [
        [
            ConfusionCell(number, percent(number, sum(row)), number / sum(row) if sum(row) else 0.0, truth == called)
            for called, number in enumerate(row)
        ]
        for truth, row in enumerate(counts)
    ]


def _data(run: RunContents) -> dict[str, Any]:
    groups = group_quarantine(run.store.quarantine)
    return {
        "split_counts": count_splits(run.store),
        "steps": trace_patches(run.store),
        "notes": [*run.store.info.notes, *_thinning(run)],
        "aside": groups[:GROUPS_SHOWN],
        "aside_left": len(groups) - len(groups[:GROUPS_SHOWN]),
        "aside_entries": run.store.quarantine.num_rows,
    }


def _thinning(run: RunContents) -> Iterator[str]:
    """Say that a plan is not the whole list, where it is not."""
    ratio = run.experiment.patches.negatives_per_positive
    if ratio != "all":
        name = run.classes[0]
        yield f"at most {ratio:g} {name} patches for each patch of a finding were planned, in every split for itself"


def _network(run: RunContents) -> dict[str, Any]:
    shape = model_input(run.layers, run.store.info.patch_shape)
    lines = infer_shapes(run.layers, shape, len(run.classes), "architecture.json")
    return {"input_shape": shape, "layers": lines, "parameters": count_parameters(lines)}


def _repeat(run: RunContents) -> dict[str, Any]:
    return {
        "commands": command_lines(run.experiment.name),
        "identity": identity_rows(run),
        "settings": settings_text(run.experiment),
    }


def _duration(seconds: float) -> str:
    if seconds != seconds:
        return MISSING
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"
