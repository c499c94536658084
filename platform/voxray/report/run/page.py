"""The report: one HTML file that needs nothing but itself, the same bytes for the same run."""

from typing import Any

from voxray.console.units import seconds_text
from voxray.models.shapes import count_parameters, infer_shapes, model_input
from voxray.report.charts.learning_curves import learning_charts
from voxray.report.html import template_environment
from voxray.report.run.classifier_parts import classification_parts
from voxray.report.run.contents import RunContents, history_column
from voxray.report.run.data_section import GROUPS_SHOWN, count_splits, group_quarantine, planning_notes, trace_patches
from voxray.report.run.reproduce import command_lines, hide_paths, identity_rows, settings_text
from voxray.report.run.segmentation_parts import segmentation_parts
from voxray.report.text.metric_values import FIGURES, MISSING, SPLIT_NAMES, count, percent
from voxray.report.text.scan_sentences import family_of
from voxray.runs.folder import RunFolder
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath
from voxray.visualization.style import SPLIT_COLORS


def write_report(path: AnyPath, run: RunContents) -> None:
    """Write the report.

    Parameters
    ----------
    path : Place
        The HTML file.
    run : RunContents
    """
    write_text(path, render_page(run))


def render_page(run: RunContents) -> str:
    """The report as HTML."""
    environment = template_environment()
    environment.filters["hide_paths"] = lambda text: hide_paths(str(text), run.experiment)
    kind, parts = (
        ("segmentation", segmentation_parts) if run.store.info.masks else ("classification", classification_parts)
    )
    shared = {**_header(run), **_learning(run), **_data(run), **_network(run), **_repeat(run)}
    return environment.get_template(f"{kind}.html.jinja").render({**shared, **parts(run)}) + "\n"


def _header(run: RunContents) -> dict[str, Any]:
    size = [edge for number, edge in enumerate(run.store.info.size) if number < 2 or edge > 1]
    subtitle = [
        f"{run.experiment.data.layout} data",
        f"patches of {' × '.join(map(str, size))} voxels",
        f"{len(size)}D network",
        f"{count(len(run.history), 'epoch')}, the best is {run.best_epoch or MISSING}",
    ]
    return {
        "name": run.experiment.name,
        "subtitle": " · ".join(subtitle),
        "classes": run.classes,
        "splits": run.splits,
        "split_names": SPLIT_NAMES,
        "split_colors": SPLIT_COLORS,
        "missing": MISSING,
        "bootstrap_samples": run.experiment.evaluation.bootstrap_samples,
    }


def _learning(run: RunContents) -> dict[str, Any]:
    best = run.experiment.training.monitor
    seconds = history_column(run.history, "seconds")
    wait = history_column(run.history, "data_wait_share")
    waited = float((seconds * wait).sum() / seconds.sum()) if seconds.sum() > 0 else float("nan")
    figure = FIGURES[best][0] if best in FIGURES else family_of(best).name
    return {
        "learning": learning_charts(run),
        "best_epoch": run.best_epoch,
        "best_by": "lowest validation loss" if best == "loss" else f"highest {figure}",
        "training_time": MISSING if (total := float(seconds.sum())) != total else seconds_text(total),
        "waited": MISSING if waited != waited else percent(waited, 1),
    }


def _data(run: RunContents) -> dict[str, Any]:
    groups = group_quarantine(run.store.quarantine)
    splits = count_splits(run.store)
    return {
        "split_counts": splits,
        "rotated": any(line.rows > line.total for line in splits),
        "steps": trace_patches(run.store),
        "notes": [*run.store.info.notes, *planning_notes(run.experiment, run.store)],
        "aside": groups[:GROUPS_SHOWN],
        "aside_left": len(groups) - len(groups[:GROUPS_SHOWN]),
        "aside_entries": run.store.quarantine.num_rows,
    }


def _network(run: RunContents) -> dict[str, Any]:
    shape = model_input(run.layers, run.store.info.patch_shape)
    lines = infer_shapes(run.layers, shape, len(run.classes), RunFolder(run.folder).architecture.name)
    return {"input_shape": shape, "layers": lines, "parameters": count_parameters(lines)}


def _repeat(run: RunContents) -> dict[str, Any]:
    return {
        "commands": command_lines(run.experiment.name, segments=run.store.info.masks),
        "identity": identity_rows(run),
        "settings": settings_text(run.experiment),
    }
