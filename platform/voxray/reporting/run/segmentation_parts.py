"""The part of a report that only segmentations have: metrics, results per scan, contours."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from voxray.config.tasks import TASKS
from voxray.metrics.metric import Metric
from voxray.metrics.registry import METRICS, metric_name
from voxray.reporting.charts.scan_strips import SCAN_METRICS, strip_charts
from voxray.reporting.run.cases import choose_cases, draw_cases, ranked_cases
from voxray.reporting.run.contents import Case, RunContents
from voxray.reporting.text.caveats import scan_caveats, split_caveats
from voxray.reporting.text.metric_values import (
    CLASS_MEAN,
    Card,
    MetricValue,
    axis_label,
    describe,
    metric_value,
    undefined_notes,
    with_unit,
)
from voxray.reporting.text.numbers import SPLIT_NAMES, count, decimals
from voxray.reporting.text.sentences import gray_levels_note, scans_sentence
from voxray.visualization.animation import TINT
from voxray.visualization.overlay import lighter
from voxray.visualization.slices import shorten_id
from voxray.visualization.style import class_color

MOST_CLASSES = 3  # that a headline lists one by one
WORST_CASES = 10
NOT_METRICS = {"scans", "patients", "intervals"}  # of metrics.json


@dataclass(frozen=True)
class MetricRows:
    """The rows of one metric in the table: its mean and each class, with the value of each split."""

    label: str
    description: str
    lines: list[tuple[str, dict[str, MetricValue]]]


def segmentation_parts(run: RunContents) -> dict[str, Any]:
    """The variables of ``segmentation.html.jinja`` beside the shared ones."""
    split = run.splits[0]
    metrics = {name: run.metrics[name] for name in run.splits}
    families = [_metric_rows(run, *group) for group in group_keys(metrics, run.classes)]
    ranked = ranked_cases(run.cases[split])
    columns = _columns(run)
    colors = _class_colors(run)
    displayed = draw_cases(run, split)
    return {
        "cards": [_card(run, name) for name in run.splits],
        "caveats": [
            *split_caveats(metrics, "The epoch was selected on the validation scans"),
            *scan_caveats(run.cases, run.classes),
        ],
        "families": families,
        "undefined_notes": list(undefined_notes(values for family in families for _, values in family.lines)),
        "strips": strip_charts(run, {split: choose_cases(run.cases[split])}),
        "legend": colors,
        "has_scans": run.experiment.data_path.is_dir(),
        "displayed": displayed,
        "scan_views": next((case.views for case in displayed if case.views), None),
        "class_metrics": lambda case: [(name, color, _class_metrics(case, name)) for name, color, _ in colors],
        "case_columns": _column_groups(columns),
        "worst": [_case_row(case, columns) for case in ranked[:WORST_CASES]],
        "ranked": len(ranked),
        "undefined": len(run.cases[split]) - len(ranked),
        "gray_levels": gray_levels_note(run.experiment.intensity, "each scan"),
        "channels": run.store.info.channels,
    }


def group_keys(metrics: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Every metric with its keys, the mean over the classes first; registered metrics come first, in their order."""
    keys = [key for key in dict.fromkeys(chain.from_iterable(metrics.values())) if key not in NOT_METRICS]
    names = dict.fromkeys(map(metric_name, keys))
    ordered = dict.fromkeys([*(name for name in METRICS if name in names), *names])
    return [(name, [key for key in _keys(name, classes) if key in keys]) for name in ordered]


def headline_metrics(
    metrics: Mapping[str, Any], classes: Sequence[str], tolerance_mm: float, most_classes: int, monitor: str = "loss"
) -> list[MetricValue]:
    """The monitor, the task's first metric for each class unless they are too many, and the means of the others."""
    first, *others = TASKS["segmentation"].headline
    of_classes = _keys(first, classes) if 2 < len(classes) <= most_classes + 1 else [first]
    keys = dict.fromkeys((monitor, *of_classes))
    values = [metric_value(key, metrics, classes, tolerance_mm) for key in keys if key in metrics]
    return [*values, *chain.from_iterable(_mean_of_classes(name, metrics, classes, tolerance_mm) for name in others)]


def _mean_of_classes(
    name: str, metrics: Mapping[str, Any], classes: Sequence[str], tolerance_mm: float
) -> Iterator[MetricValue]:
    """The mean of a metric over the classes, with the worst class in place of an interval; nothing without values."""
    values = [metric_value(key, metrics, classes, tolerance_mm) for key in _keys(name, classes)[1:] if key in metrics]
    if len(values) < 2:
        yield from values
        return
    defined = [value.value for value in values if value.value is not None]
    if not defined:
        yield metric_value(name, {}, classes, tolerance_mm)
        return
    metric = describe(name)
    worst = min(defined) if metric.higher_is_better else max(defined)
    mean = metric_value(name, {name: sum(defined) / len(defined)}, classes, tolerance_mm)
    yield replace(mean, note=f"worst class {decimals(worst, metric.digits)}")


def _class_colors(run: RunContents) -> list[tuple[str, str, str]]:
    """Name of each class, and its colors of ground truth and prediction."""
    colors = map(class_color, range(1, len(run.classes)))
    return [(name, color, lighter(color, TINT)) for name, color in zip(run.classes[1:], colors, strict=True)]


def _keys(name: str, classes: Sequence[str]) -> list[str]:
    return [name, *(f"{name}/{class_name}" for class_name in classes[1:])]


def _card(run: RunContents, split: str) -> Card:
    metrics = run.metrics[split]
    size = f"{count(metrics['scans'], 'scan')} of {count(metrics['patients'], 'patient')}"
    tolerance_mm, monitor = run.experiment.evaluation.tolerance_mm, run.experiment.training.monitor
    values = headline_metrics(metrics, run.classes, tolerance_mm, MOST_CLASSES, monitor)
    sentence = scans_sentence(metrics, run.cases[split], run.classes, split)
    return Card(split, SPLIT_NAMES[split], size, sentence, tuple(values))


def _metric_rows(run: RunContents, name: str, keys: Sequence[str]) -> MetricRows:
    tolerance_mm = run.experiment.evaluation.tolerance_mm
    lines = [
        (
            key.partition("/")[2] or CLASS_MEAN,
            {split: metric_value(key, run.metrics[split], run.classes, tolerance_mm) for split in run.splits},
        )
        for key in keys
    ]
    metric = describe(name)
    return MetricRows(metric.label, metric.describe(run.classes, "scan", tolerance_mm), lines)


def _columns(run: RunContents) -> list[str]:
    """The metrics in the table of scans."""
    cases, names = run.cases[run.splits[0]], run.classes[1:]
    keys = [f"{metric}/{name}" for metric in SCAN_METRICS for name in names]
    return [key for key in (["dice"] * (len(names) > 1) + keys) if cases and key in cases[0]]


def _column_groups(columns: Sequence[str]) -> list[tuple[str, list[str]]]:
    """The metrics of the columns, each with the classes of its columns."""
    groups: dict[str, list[str]] = {}
    for key in columns:
        groups.setdefault(axis_label(describe(key)), []).append(key.partition("/")[2] or CLASS_MEAN)
    return list(groups.items())


def _case_row(case: Case, columns: Sequence[str]) -> tuple[str, str, list[str]]:
    """Name, shortened name and metrics of a scan."""
    scan_id = str(case["scan_id"])
    return scan_id, shorten_id(scan_id), [decimals(case.get(key), describe(key).digits) for key in columns]


def _class_metrics(case: Case, name: str) -> str:
    """The metrics of one class of a scan."""
    metrics: dict[str, Metric] = {f"{metric}/{name}": describe(metric) for metric in SCAN_METRICS}
    return ", ".join(f"{metric.label} {with_unit(case[key], metric)}" for key, metric in metrics.items() if key in case)
