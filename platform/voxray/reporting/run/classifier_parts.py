"""The part of a report that only classifiers have: metrics, predictions and worst errors."""

from collections.abc import Iterator
from typing import Any

import pyarrow.compute as pc
from markupsafe import Markup

from voxray.datasets.layouts import find_layout
from voxray.metrics.registry import headline_keys, metric_name, task_metrics
from voxray.reporting.charts.classifier_curves import curve_charts, score_charts
from voxray.reporting.charts.froc_curve import DrawnCurve, froc_chart
from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.rounds import training_rounds
from voxray.reporting.run.scan_views import classifier_views
from voxray.reporting.run.whole_scans import headline, whole_scans
from voxray.reporting.run.worst_errors import error_groups, is_one_image
from voxray.reporting.text.caveats import classifier_caveats
from voxray.reporting.text.class_rows import class_rows
from voxray.reporting.text.metric_values import Card, MetricValue, metric_columns, metric_value, undefined_notes
from voxray.reporting.text.numbers import SPLIT_NAMES, count, percent, plural, probability
from voxray.reporting.text.sentences import calibration_sentences, gray_levels_note, operating_sentence
from voxray.visualization.slices import is_picture, slice_step


def classifier_parts(run: RunContents) -> dict[str, Any]:
    """The variables of ``classification.html.jinja`` beside the shared ones."""
    classes, splits = run.classes, run.splits
    metrics = {split: run.metrics[split] for split in splits}
    table = _metric_table(run)
    unit = find_layout(run.experiment.data.layout).unit
    return {
        "cards": [_card(run, split) for split in splits],
        "caveats": list(classifier_caveats(metrics, classes)),
        "metric_table": table,
        "class_tables": {split: class_rows(metrics[split]) for split in splits},
        "level": run.level,
        "levels": plural(run.level),
        "threshold": probability(run.threshold),
        "undefined_notes": [*undefined_notes(table), *_threshold_note(run)],
        "confusions": {split: _confusion(metrics[split]["confusion_matrix"]) for split in splits},
        "reweighted": run.reweighted,
        "curves": curve_charts(run),
        "scores": score_charts(run),
        "froc": _froc(run),
        "whole_scans": whole_scans(run),
        "calibration": calibration_sentences(run, len(run.experiment.patches.oversample_rotations) + 1),
        "error_groups": error_groups(run),
        "rounds": training_rounds(run),
        "scan_views": classifier_views(run),
        "pictures": all(map(is_picture, pc.unique(run.predictions[splits[0]].rows["path"]).to_pylist())),
        "gray_levels": gray_levels_note(run.experiment.intensity, "each patch and channel", unit),
        "one_image": is_one_image(run),
        "slice_step": slice_step(run.store.info.size[2]),
        "flat": run.store.info.size[2] == 1,
    }


def _metric_table(run: RunContents) -> list[dict[str, MetricValue]]:
    """Every metric of the task that was computed, for each of `metric_columns`."""
    first = run.metrics[run.splits[0]]
    keys = [metric.name for metric in task_metrics(run.store.info.task) if metric.name in first]
    detection = {metric.name for metric in task_metrics("detection")}
    keys += [key for key in first if metric_name(key) in detection]
    columns = metric_columns(run.metrics, run.splits)
    return [{title: metric_value(key, columns[title], run.classes) for title in columns} for key in keys]


def _froc(run: RunContents) -> Markup | None:
    """The FROC curves of the candidates of the list."""
    curves = {
        split: DrawnCurve(run.detection[split].froc, run.metrics[split])
        for split in run.splits
        if split in run.detection and run.detection[split].froc is not None
    }
    return froc_chart(curves) if curves else None


def _threshold_note(run: RunContents) -> Iterator[str]:
    if len(run.classes) == 2 and run.threshold is None:
        yield f"Threshold: validation has no {run.level} to choose it on; the more probable class is predicted"


def _card(run: RunContents, split: str) -> Card:
    metrics = run.metrics[split]
    counts = [f"{sum(row):,} {name}" for row, name in zip(metrics["confusion_matrix"], run.classes, strict=True)]
    size = f"{count(metrics['samples'], run.level)} ({', '.join(counts)})"
    size += f" of {count(metrics['patients'], 'patient')}" if run.level == "patch" else ""
    target = run.experiment.evaluation.target_recall
    sentence = operating_sentence(split, metrics, run.classes, target, repeated=split != run.splits[0])
    keys = headline_keys(run.store.info.task, run.experiment.training.monitor)
    if population := metrics.get("population"):
        size, metrics = f"{size}; metrics re-weighted to the mix of the list", {**metrics, **population}
    values = tuple(metric_value(key, metrics, run.classes) for key in keys)
    whole = headline(run.metrics[split])
    if whole:
        sentence = f"Candidates of the list: {sentence[0].lower()}{sentence[1:]}"
    return Card(split, SPLIT_NAMES[split], size, sentence, values, whole)


def _confusion(counts: list[list[int]]) -> list[list[dict[str, Any]]]:
    """Rows of cells: the count, its share of the row as text and as a fraction, and whether it is on the diagonal."""
    return [
        [
            {
                "number": number,
                "share": percent(number, sum(row)),
                "fraction": number / sum(row) if sum(row) else 0.0,
                "is_correct": true == predicted,
            }
            for predicted, number in enumerate(row)
        ]
        for true, row in enumerate(counts)
    ]
