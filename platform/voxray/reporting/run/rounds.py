"""What the second round of a training adds: hard negatives, and the validation metrics of both rounds."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from voxray.config.rounds import FIRST
from voxray.errors import VoxrayError
from voxray.evaluation.findings import WHOLE_SCANS
from voxray.metrics.registry import headline_keys, metric_name, task_metrics
from voxray.reporting.run.contents import RunContents
from voxray.reporting.run.worst_errors import DEEP_CASES, FLAT_CASES, ErrorCase, is_one_image, patch_cases
from voxray.reporting.text.metric_values import MetricValue, metric_value
from voxray.reporting.text.numbers import count, probability
from voxray.runs.folder import RunFolder
from voxray.runs.read import read_metrics
from voxray.store.added import hard_negatives, read_negatives


@dataclass(frozen=True)
class Rounds:
    """The hard negatives of a run, some of them as pictures, and metrics of both rounds.

    A line of `metrics` is a metric of the validation split, of the first round and of the second one.
    """

    sentence: str
    metrics: tuple[tuple[MetricValue, ...], ...]
    cases: tuple[ErrorCase, ...]
    problem: str = ""


def training_rounds(run: RunContents) -> Rounds | None:
    """The rounds of a run; None where there is one."""
    if run.store.added is None:
        return None
    rows = hard_negatives(run.store)
    metrics, problem = _metrics(run)
    limit = FLAT_CASES if is_one_image(run) else DEEP_CASES
    first = rows.slice(0, limit).to_pylist()
    scores = ["" for _ in first]
    try:
        listed = read_negatives(run.store.path, run.store.added.name)["probability"].to_pylist()
        scores = [probability(listed[row["row"]]) for row in first]
    except (VoxrayError, IndexError):
        problem = problem or "The list of hard negatives cannot be read"
    cases = patch_cases(run, "train", first, scores)
    if first and not cases:
        problem = "No images: the patches of the store cannot be read"
    scans = count(len(rows["scan_id"].unique()), "scan")
    shown = (
        f", of which the first {len(cases)} are displayed with their probability there, before calibration"
        if cases
        else ""
    )
    sentence = (
        f"This network also trained on {count(rows.num_rows, 'hard negative')} of {scans}: the most probable findings "
        f"of the first round's network in the training scans that hit neither a nodule nor an excluded finding{shown}."
    )
    return Rounds(sentence, metrics, cases, problem)


def _metrics(run: RunContents) -> tuple[tuple[tuple[MetricValue, ...], ...], str]:
    try:
        before = read_metrics(RunFolder(run.folder / FIRST))["val"]
    except (VoxrayError, KeyError):
        return (), "The metrics of the first round cannot be read"
    after = run.metrics["val"]
    headline = headline_keys(run.store.info.task, run.experiment.training.monitor)
    lines = list(_compare(run, before, after, headline))
    scans = (values.get(WHOLE_SCANS) for values in (before, after))
    match list(scans):
        case [dict(earlier), dict(later)]:
            for pair in _compare(run, earlier, later, ()):
                lines.append(tuple(replace(value, label=f"{value.label}, whole scans") for value in pair))
    return tuple(lines), ""


def _compare(
    run: RunContents, before: Mapping[str, Any], after: Mapping[str, Any], headline: Sequence[str]
) -> Iterator[tuple[MetricValue, ...]]:
    """The headline, and the metrics of a detection, where both rounds have them."""
    detection = {metric.name for metric in task_metrics("detection")}
    for key in dict.fromkeys([*headline, *(key for key in after if metric_name(key) in detection)]):
        if key in before and key in after:
            yield metric_value(key, before, run.classes), metric_value(key, after, run.classes)
