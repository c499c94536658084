"""What a reader has to know before quoting the metrics of a run."""

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

from voxray.metrics.support import MIN_PATIENTS
from voxray.reporting.run.contents import Case
from voxray.reporting.text.metric_values import describe
from voxray.reporting.text.numbers import SPLIT_NAMES, count, plural

FEW_PATIENTS = 20
# Why a metric of a scan is undefined.
REASONS = {"dice": "neither ground truth nor prediction has", "hd95_mm": "ground truth or prediction lacks"}


def classifier_caveats(metrics: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> Iterator[str]:
    """The caveats of a classifier; `metrics` are those of each split."""
    levels = plural(next(iter(metrics.values()))["level"])
    yield from split_caveats(metrics, f"The epoch and the threshold were selected on the validation {levels}")
    if len(classes) == 2:
        ratios = "; ".join(filter(None, (_class_ratio(split, metrics[split], classes) for split in metrics)))
        yield (
            f"Precision, error and average precision depend on the prevalence in the store: {ratios}. "
            "Recall and ROC AUC do not."
        )
    dropped = [SPLIT_NAMES[split].lower() for split in metrics if "population" in metrics[split]]
    if dropped:
        yield (
            f"Negatives of the {' and '.join(dropped)} split were dropped. Re-weighted metrics count each kept one as "
            "often as the list has its like, so that precision and false positives are those of the whole list."
        )


def split_caveats(metrics: Mapping[str, Mapping[str, Any]], selected: str) -> Iterator[str]:
    """The caveats of any run: no test split, where `selected` says why that matters, or few patients."""
    if "test" not in metrics:
        yield f"There is no test split. {selected} that these metrics are computed on, so they are biased upwards."
    patients = {SPLIT_NAMES[split].lower(): metrics[split].get("patients", 0) for split in metrics}
    few = [f"{name} has {count(number, 'patient')}" for name, number in patients.items() if number < FEW_PATIENTS]
    if few:
        yield (
            f"Few patients ({', '.join(few)}): intervals are wide, and a metric has none where it rests on fewer than "
            f"{MIN_PATIENTS} patients."
        )


def scan_caveats(cases: Mapping[str, Sequence[Case]], classes: Sequence[str]) -> Iterator[str]:
    """Scans that a mean excludes."""
    for split, metric, name in product(cases, REASONS, classes[1:]):
        undefined = sum(not math.isfinite(row.get(f"{metric}/{name}", 0)) for row in cases[split])
        if undefined:
            scans = f"{undefined:,} of {count(len(cases[split]), 'scan')} in the {SPLIT_NAMES[split].lower()} split"
            yield f"{describe(metric).label} of {name} excludes {scans}, where {REASONS[metric]} the class."


def _class_ratio(split: str, metrics: Mapping[str, Any], classes: Sequence[str]) -> str:
    negatives, positives = map(sum, metrics["confusion_matrix"])
    if not positives:
        return ""
    level, name = metrics["level"], SPLIT_NAMES[split].lower()
    listed = metrics.get("population", {}).get("class_counts")
    of_list = f" ({listed[0] / listed[1]:.1f} in the list)" if listed else ""
    return f"{negatives / positives:.1f} {classes[0]} {plural(level)} per {classes[1]} {level} in {name}{of_list}"
