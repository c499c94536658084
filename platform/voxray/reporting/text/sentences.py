"""The sentences of the headline of a report."""

import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from voxray.config.preprocessing import IntensitySpec
from voxray.config.training import TrainingSpec
from voxray.reporting.run.contents import Case, RunContents
from voxray.reporting.text.metric_values import inline_label
from voxray.reporting.text.numbers import count, decimals, finite, minus, number_text, percent, plural, probability

SPLITS = {"val": "validation split", "test": "test split"}


def operating_sentence(
    split: str, metrics: Mapping[str, Any], classes: Sequence[str], target_recall: float, *, repeated: bool = False
) -> str:
    """The performance of a classifier at its operating point in one sentence; shorter where it is `repeated`."""
    confusion, levels = metrics["confusion_matrix"], plural(metrics["level"])
    total = sum(map(sum, confusion))
    if len(classes) != 2:
        correct = sum(confusion[label][label] for label in range(len(classes)))
        counts = f"{correct:,} of {total:,} {levels} ({percent(correct, total)})"
        return f"The model assigns the correct one of {len(classes)} classes to {counts} in the {SPLITS[split]}."
    (_, false_positives), (missed, detected) = confusion
    negatives, positives = sum(confusion[0]), missed + detected
    return (
        f"{_subject(finite(metrics.get('threshold')), target_recall, repeated)} detects {detected:,} of {positives:,} "
        f"{classes[1]} {levels} ({percent(detected, positives)}) in the {SPLITS[split]}, with "
        f"{count(false_positives, 'false positive')} among {negatives:,} {classes[0]} {levels} "
        f"({percent(false_positives, negatives)})."
    )


def _subject(threshold: float | None, target_recall: float, repeated: bool) -> str:
    if repeated:
        return "Likewise, it" if threshold is None else "At the same threshold, it"
    if threshold is None:
        return "Without an operating point, predicting the more probable class, the model"
    goal = f"chosen on validation for a recall of at least {target_recall:.2f}"
    return f"At threshold {probability(threshold)}, {goal}, the model"


def operating_point_text(metrics: Mapping[str, Any]) -> str:
    """The operating point of whole scans, from the metrics of these; of several folds each one."""
    limit = f"at most {metrics['max_false_positives_per_scan']:g} false positives a scan"
    thresholds = [finite(threshold) for threshold in metrics.get("thresholds") or [metrics["threshold"]]]
    if None in thresholds:
        return f"no operating point: no probability has {limit} on validation"
    return f"operating point p ≥ {', '.join(map(probability, thresholds))}, chosen on validation for {limit}"


def stop_reason(training: TrainingSpec, epochs: int) -> str:
    """Why training ended after these epochs already; empty where it did all."""
    if not training.early_stopping_epochs or epochs >= training.epochs:
        return ""
    limit = count(training.early_stopping_epochs, "epoch")
    return f"stopped after epoch {epochs}: no better validation {inline_label(training.stopping_monitor)} for {limit}"


def gray_levels_note(intensity: IntensitySpec, pixels: str, unit: str = "") -> str:
    """The intensities that are black and white in the pictures."""
    if intensity.kind != "window":
        return f"gray levels span the 0.5th to 99.5th percentile of {pixels}"
    return minus("gray levels span {:g} to {:g}".format(*intensity.windows[0])) + f" {unit}".rstrip()


def scans_sentence(metrics: Mapping[str, Any], cases: Sequence[Case], classes: Sequence[str], split: str) -> str:
    """The Dice of the scans of one split in one sentence."""
    names = classes[1] if len(classes) == 2 else f"{', '.join(classes[1:-1])} and {classes[-1]}"
    dice = sorted(case["dice"] for case in cases if math.isfinite(case["dice"]))
    if not dice:
        return f"No scan of the {SPLITS[split]} has {names} in ground truth or prediction, so no metric is defined."
    mean = "The Dice" if len(classes) == 2 else "The mean Dice"
    per_scan = f", per scan: median {statistics.median(dice):.3f}, range {dice[0]:.3f} to {dice[-1]:.3f}"
    scans = f"{count(len(dice), 'scan')} of the {SPLITS[split]}{per_scan if len(dice) > 1 else ''}"
    return f"{mean} of {names} is {decimals(metrics['dice'])} over {scans}."


def calibration_sentences(run: RunContents, copies: int) -> str:
    """How probabilities were calibrated and what it changed; `copies` of each positive were in the training split."""
    metrics = run.metrics[run.splits[0]]
    record = metrics.get("calibration")
    if record is None:
        oversampled = f"Positives were oversampled {copies}× by rotation, so probabilities are biased upwards. "
        return f"{oversampled if copies > 1 else ''}Probabilities are not calibrated (evaluation.calibrate = false)."
    scaled = f"Probabilities are calibrated: logits are divided by the temperature {record['temperature']:.3f}"
    why = f", because {record['note']}" if record["note"] else f", fitted on the validation {plural(run.level)}"
    named = [(name, offset) for name, offset in zip(run.classes, record["offsets"], strict=True) if offset]
    odds = ", ".join(f"those of {name} by {number_text(math.exp(offset))}" for name, offset in named)
    offsets = f" Odds are multiplied, {odds}, because training repeated, dropped or weighted samples." if odds else ""
    changes = " and ".join(map(_error_change, map(run.metrics.__getitem__, run.splits), run.splits))
    return f"{scaled}{why}.{offsets} The expected calibration error changed {changes}."


def _error_change(metrics: Mapping[str, Any], split: str) -> str:
    before, after = metrics["calibration"]["uncalibrated_ece"], metrics["ece"]
    return f"from {decimals(before)} to {decimals(after)} in the {SPLITS[split]}"
