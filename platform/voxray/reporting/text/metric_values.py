"""Metrics of ``metrics.json`` with labels, descriptions and intervals, as pages display them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from voxray.metrics.metric import UNBOUNDED, Metric
from voxray.metrics.registry import METRICS, metric_name
from voxray.reporting.text.numbers import MISSING, SPLIT_NAMES, decimals, finite, interval_text

CLASS_MEAN = "mean"
LIST = " (list's candidates)"


@dataclass(frozen=True)
class MetricValue:
    """One metric of one split, ready for display."""

    label: str
    description: str
    value: float | None
    text: str  # with its unit, or an en dash
    low: float | None  # the ends of the 95 % confidence interval; both or neither
    high: float | None
    interval: str  # empty where there is none
    undefined: str  # why there is no value; empty where there is one
    is_share: bool = True  # whether it lies between 0 and 1
    note: str = ""  # displayed where there is no interval


@dataclass(frozen=True)
class Card:
    """The headline of one split; the first metric is displayed in large type."""

    split: str
    title: str
    size: str
    sentence: str
    metrics: tuple[MetricValue, ...]
    whole_scans: str = ""


def metric_value(
    key: str, metrics: Mapping[str, Any], classes: Sequence[str], tolerance_mm: float = 1.0
) -> MetricValue:
    """A metric of one split of ``metrics.json``: ``recall``, or with a class ``hd95_mm/liver``."""
    metric, level = describe(key), metrics.get("level", "scan")
    value, low, high = value_and_interval(key, metrics)
    return MetricValue(
        label=label_in(key, metrics),
        description=metric.describe(classes, level, tolerance_mm),
        value=value,
        text=with_unit(value, metric),
        low=low,
        high=high,
        interval="" if low is None or high is None else interval_text(low, high, metric.digits),
        undefined=metric.explain_undefined(classes, level) if value is None else "",
        is_share=metric.is_share,
        note=metric.no_interval if value is not None and low is None and key in metrics.get("intervals", {}) else "",
    )


def describe(key: str) -> Metric:
    """The registered metric of a key; an unknown one has its own name and no description."""
    name = metric_name(key)
    label = name.replace("_", " ").capitalize()
    return METRICS.get(name) or Metric(name, label, None, "", undefined="undefined in every scan", bounds=UNBOUNDED)


def label_of(key: str) -> str:
    """The label of ``dice`` or, with the class, of ``dice/liver``; of ``sensitivity_at/2`` with the rate inside."""
    label, part = describe(key).label, key.partition("/")[2]
    return label.format(part) if "{}" in label else ", ".join(filter(None, (label, part)))


def label_in(key: str, metrics: Mapping[str, Any]) -> str:
    """The label among the metrics of a split: those of a detection count the list's candidates, or whole scans."""
    of_list = "detection" in describe(key).tasks and "proposals" not in metrics
    return f"{label_of(key)}{LIST if of_list else ''}"


def inline_label(key: str) -> str:
    """The label inside a sentence: lowercase but for names and abbreviations."""
    words = label_of(key).split()
    return " ".join(word.lower() if word[1:].islower() and word != "Dice" else word for word in words)


def axis_label(metric: Metric) -> str:
    """The label with its unit, as axes and columns have it."""
    return f"{metric.label} ({metric.unit})" if metric.unit else metric.label


def with_unit(value: float | None, metric: Metric) -> str:
    """A value with the metric's digits, and its unit after a narrow space."""
    text = decimals(value, metric.digits)
    return f"{text}\u202f{metric.unit}" if metric.unit and text != MISSING else text


def value_and_interval(key: str, metrics: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """A metric of one split and the ends of its interval, None where undefined."""
    value = finite(metrics.get(key))
    low, high = map(finite, metrics.get("intervals", {}).get(key) or (None, None))
    return (value, None, None) if value is None else (value, low, high)


def metric_columns(metrics: Mapping[str, Mapping[str, Any]], splits: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """The columns of a table of metrics by title: each split, and what is re-weighted to the list's own mix."""
    columns = {}
    for split in splits:
        title, values = SPLIT_NAMES[split], metrics[split]
        columns[title] = values
        if "population" in values:
            columns[f"{title}, re-weighted"] = {**values, **values["population"]}
    return columns


def undefined_notes(rows: Iterable[Mapping[str, MetricValue]]) -> Iterator[str]:
    """Why a value is an en dash, from rows of split → value."""
    for row in rows:
        for split, value in row.items():
            if value.undefined:
                yield f"{value.label}, {SPLIT_NAMES.get(split, split).lower()}: {value.undefined}"
