"""The page of a cross-validation: metrics of all patients pooled, and of each fold."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from markupsafe import Markup

from voxray.config.experiment import Experiment
from voxray.evaluation.findings import WHOLE_SCANS
from voxray.metrics.detection_score import MIN_SCANS
from voxray.metrics.support import MIN_PATIENTS
from voxray.reporting.charts.froc_curve import DrawnCurve, froc_chart
from voxray.reporting.html import template_environment
from voxray.reporting.run.reproduce import settings_text
from voxray.reporting.text.class_rows import class_rows
from voxray.reporting.text.metric_values import describe, label_in, label_of, metric_columns
from voxray.reporting.text.numbers import MISSING, SPLIT_NAMES, count, decimals, interval_text, plural
from voxray.runs.folder import RunFolder
from voxray.runs.read import read_froc
from voxray.storage.atomic import write_text
from voxray.storage.paths import AnyPath
from voxray.visualization.style import MUTED, SPLIT_COLORS, WIDE, new_axes, styled, to_svg, unit_axis


def write_fold_report(path: AnyPath, experiment: Experiment, metrics: Mapping[str, Any]) -> None:
    """Write the page, beside the folders of the folds, atomically; `metrics` is the content of ``metrics.json``."""
    test = metrics["test"]
    folds: Mapping[str, Sequence[float | None]] = test["folds"]
    columns = metric_columns(metrics, ("test",))
    if whole := test.get(WHOLE_SCANS):
        columns[f"{SPLIT_NAMES['test']}, whole scans"] = whole
    rows = [row for title, values in columns.items() for row in _rows(values, title)]
    page = template_environment().get_template("folds.html.jinja")
    text = page.render(
        name=experiment.name,
        folds=experiment.split.fold_numbers,
        size=count(test["patients"], "patient"),
        levels=plural(test.get("level", "scan")),
        min_patients=MIN_PATIENTS,
        min_scans=MIN_SCANS,
        missing=MISSING,
        no_interval=describe(_headline(experiment, folds)).no_interval,
        headline=rows[list(folds).index(_headline(experiment, folds))],
        class_rows=class_rows(test),
        rows=rows,
        chart=_fold_chart(test),
        calibration=_calibration(test),
        froc=_froc(RunFolder(path.parent), test),
        settings=settings_text(experiment),
    )
    write_text(path, text + "\n")


def _headline(experiment: Experiment, folds: Mapping[str, Any]) -> str:
    """The monitor of the experiment, or else the metric that needs no threshold."""
    monitor = experiment.training.monitor
    return monitor if monitor in folds else "roc_auc" if "roc_auc" in folds else "dice"


def _rows(values: Mapping[str, Any], title: str) -> Iterator[tuple[str, tuple[str, str], list[str]]]:
    """Label, pooled value with interval and values of the folds, of each metric; the title says what is re-weighted."""
    note = title.removeprefix(SPLIT_NAMES["test"])
    for key, folds in values["folds"].items():
        yield label_in(key, values) + note, _pooled(values, key), [*map(decimals, folds)]


def _calibration(test: Mapping[str, Any]) -> str:
    record = test.get("calibration")
    if record is None:
        return ""
    temperatures = ", ".join(map(decimals, record["temperatures"]))
    error = f"expected calibration error {decimals(record['uncalibrated_ece'])} before, {decimals(test['ece'])} after"
    return f"Each fold is calibrated on its validation split (temperatures {temperatures}): {error}."


def _froc(folder: RunFolder, test: Mapping[str, Any]) -> dict[str, Markup]:
    """The pooled curves: of the list's candidates, and of whole scans with the operating point of each fold."""
    files = {"list": (folder.froc("test"), test), "whole scans": (folder.findings_froc("test"), test.get(WHOLE_SCANS))}
    curves = {
        name: DrawnCurve(table, values)
        for name, (file, values) in files.items()
        if values is not None and (table := read_froc(folder, file)) is not None
    }
    return {
        name: froc_chart({"test": curve}, f"froc-{name.replace(' ', '-')}", operating=name != "list")
        for name, curve in curves.items()
    }


def _pooled(test: Mapping[str, Any], key: str) -> tuple[str, str]:
    ends = test["intervals"][key]
    return decimals(test[key]), interval_text(*ends) if ends else MISSING


@styled
def _fold_chart(test: Mapping[str, Any]) -> Markup:
    """Metrics between 0 and 1: a dot for each fold, a mark for all patients with its interval."""
    # None becomes NaN, which is not drawn.
    folds = {key: np.array(values, np.float64) for key, values in test["folds"].items()}
    keys = [key for key in reversed(folds) if describe(key).is_share]
    figure, axes = new_axes((WIDE[0] * 1.4, 0.6 + 0.32 * len(keys)), "", "")
    for line, key in enumerate(keys):
        axes.plot(folds[key], [line] * len(folds[key]), "o", color=MUTED, markersize=4, alpha=0.6, markeredgewidth=0)
        ends = test["intervals"][key] or []
        axes.plot(ends, [line] * len(ends), color=SPLIT_COLORS["test"], linewidth=1.2)
        pooled = np.array([test[key]], np.float64)
        axes.plot(pooled, [line], "|", color=SPLIT_COLORS["test"], markersize=13, markeredgewidth=2.4)
    axes.set_yticks(range(len(keys)), list(map(label_of, keys)))
    unit_axis(axes, x=True)
    return to_svg(figure, "folds", "Metrics of each fold and of all patients pooled")
