"""The report of a run: one self-contained HTML file, the same bytes for the same run."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from voxray.console.units import seconds_text
from voxray.metrics.detection_score import MIN_SCANS
from voxray.metrics.registry import find_metric
from voxray.metrics.support import MIN_PATIENTS
from voxray.models.shapes import count_parameters, infer_shapes, model_input
from voxray.reporting.charts.learning_curves import SCORES, learning_charts
from voxray.reporting.html import template_environment
from voxray.reporting.run.classifier_parts import classifier_parts
from voxray.reporting.run.contents import RunContents, history_column
from voxray.reporting.run.data_section import (
    GROUPS_SHOWN,
    count_splits,
    group_quarantine,
    planning_notes,
    trace_patches,
)
from voxray.reporting.run.near_duplicates import near_duplicates
from voxray.reporting.run.reproduce import command_lines, hide_paths, identity_rows, settings_text
from voxray.reporting.run.segmentation_parts import segmentation_parts
from voxray.reporting.run.training_patches import training_patches
from voxray.reporting.text.metric_values import inline_label, label_of
from voxray.reporting.text.numbers import MISSING, SPLIT_NAMES, count, percent
from voxray.reporting.text.sentences import stop_reason
from voxray.runs.folder import RunFolder
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath
from voxray.visualization.style import SPLIT_COLORS

# The part of the page that differs between tasks; its template has the task's name.
PARTS: Mapping[str, Callable[[RunContents], dict[str, Any]]] = {
    "classification": classifier_parts,
    "segmentation": segmentation_parts,
}


def write_report(path: AnyPath, run: RunContents) -> None:
    """Write the report, an HTML file."""
    write_text(path, render_page(run))


def render_page(run: RunContents) -> str:
    """The report as HTML."""
    environment = template_environment()
    environment.filters["hide_paths"] = lambda text: hide_paths(str(text), run.experiment)
    task = run.store.info.task
    values = _header(run) | _training(run) | _data(run) | _network(run) | _reproduce(run) | PARTS[task](run)
    return environment.get_template(f"{task}.html.jinja").render(values) + "\n"


def _header(run: RunContents) -> dict[str, Any]:
    size = [edge for number, edge in enumerate(run.experiment.input_size) if number < 2 or edge > 1]
    noun = "patches" if run.experiment.augment.crop is None else "crops"
    subtitle = [
        f"{run.experiment.data.layout} data",
        f"{noun} of {' × '.join(map(str, size))} voxels",
        f"{len(size)}D network",
        f"{count(len(run.history), 'epoch')}, best: {run.best_epoch or MISSING}",
    ]
    return {
        "name": run.experiment.name,
        "subtitle": " · ".join(subtitle),
        "classes": run.classes,
        "splits": run.splits,
        "split_names": SPLIT_NAMES,
        "split_colors": SPLIT_COLORS,
        "missing": MISSING,
        "min_patients": MIN_PATIENTS,
        "min_scans": MIN_SCANS,
    }


def _training(run: RunContents) -> dict[str, Any]:
    monitor = run.experiment.training.monitor
    best = "highest" if find_metric(monitor).higher_is_better else "lowest"
    seconds = history_column(run.history, "seconds")
    total = float(seconds.sum())
    waited = float((seconds * history_column(run.history, "data_wait_share")).sum())
    return {
        "learning": learning_charts(run),
        "score_title": label_of(SCORES[run.store.info.task]),
        "training_patches": training_patches(run),
        "store_channels": run.store.info.channels,
        "flat_patches": run.store.info.size[2] == 1,
        "masks": run.store.info.masks,
        "best_epoch": run.best_epoch,
        "best_by": f"{best} validation {inline_label(monitor)}",
        "stopped": stop_reason(run.experiment.training, len(run.history)),
        "training_time": MISSING if math.isnan(total) else seconds_text(total),
        "waited": MISSING if math.isnan(waited) or not total > 0 else percent(waited, total),
    }


def _data(run: RunContents) -> dict[str, Any]:
    groups = group_quarantine(run.store.quarantine)
    splits = count_splits(run.store)
    return {
        "split_counts": splits,
        "rotated": any(line.rows > line.total for line in splits),
        "steps": trace_patches(run.store),
        "notes": [*run.store.info.notes, *planning_notes(run.experiment, run.store)],
        "near_duplicates": near_duplicates(run),
        "quarantine": groups[:GROUPS_SHOWN],
        "groups_omitted": max(0, len(groups) - GROUPS_SHOWN),
        "quarantined_entries": run.store.quarantine.num_rows,
    }


def _network(run: RunContents) -> dict[str, Any]:
    shape = model_input(run.layers, (run.store.info.channels, *run.experiment.input_size))
    lines = infer_shapes(run.layers, shape, len(run.classes), RunFolder(run.folder).architecture.name)
    return {"input_shape": shape, "layers": lines, "parameters": count_parameters(lines)}


def _reproduce(run: RunContents) -> dict[str, Any]:
    return {
        "commands": command_lines(run.experiment.name, segments=run.store.info.masks),
        "identity": identity_rows(run),
        "settings": settings_text(run.experiment),
    }
