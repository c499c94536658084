"""Figures in words: how a number is written, what it means, and why it may be missing."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SPLIT_NAMES = {"train": "Training", "val": "Validation", "test": "Test"}
MISSING = "–"
FEW_PATIENTS = 20

HEADLINE = ("recall", "precision", "roc_auc", "average_precision", "error")

# Name, meaning with two classes, meaning with more, why it may have no value. {0} is class 0, {1} the finding, and
# {unit} what is judged: a patch or a patient.
FIGURES: dict[str, tuple[str, str, str, str]] = {
    "recall": (
        "Recall",
        "share of the {1} {units} that are found; also called sensitivity",
        "share of a class that is called so, mean over the classes",
        "a class has no {unit} in this split",
    ),
    "precision": (
        "Precision",
        "share of the alarms that are {1}; depends on how many there are to find",
        "share of the calls of a class that are right, mean over the classes",
        "a class is never called in this split",
    ),
    "f1": (
        "F1",
        "harmonic mean of recall and precision",
        "harmonic mean of recall and precision, mean over the classes",
        "a class is neither present nor called in this split",
    ),
    "accuracy": (
        "Accuracy",
        "share of all {units} that are called right",
        "share of all {units} that are called right",
        "the split has no {unit}",
    ),
    "error": (
        "Error",
        "share of all {units} that are called wrong",
        "share of all {units} that are called wrong",
        "the split has no {unit}",
    ),
    "balanced_accuracy": (
        "Balanced accuracy",
        "mean of the shares of {0} and of {1} that are called right",
        "mean over the classes of the share that is called right",
        "a class has no {unit} in this split",
    ),
    "roc_auc": (
        "ROC AUC",
        "chance that one {1} {unit} scores higher than one {0} {unit}; needs no threshold",
        "chance that a {unit} of a class scores higher for it than another {unit}, mean over the classes",
        "a class has no {unit} in this split, or is all there is",
    ),
    "average_precision": (
        "Average precision",
        "mean precision over all recalls; needs no threshold",
        "mean precision over all recalls, of each class against the rest, mean over the classes",
        "a class has no {unit} in this split",
    ),
    "loss": ("Loss", "mean cross-entropy, in nats", "mean cross-entropy, in nats", "the split has no {unit}"),
}


@dataclass(frozen=True)
class Figure:
    """One figure of one split, ready to be shown.

    Attributes
    ----------
    key, name : str
    meaning : str
    value : float, optional
    text : str
        Three decimals, or an en dash.
    low, high : float, optional
        Ends of the 95 % interval; both or neither.
    interval : str
        In words; empty where there is none.
    missing : str
        Why there is no value; empty where there is one.
    is_share : bool
        Whether it lies between 0 and 1 and can be drawn so.
    note : str
        What is said where there is no interval.
    """

    key: str
    name: str
    meaning: str
    value: float | None
    text: str
    low: float | None
    high: float | None
    interval: str
    missing: str
    is_share: bool = True
    note: str = "no interval from one patient"


@dataclass(frozen=True)
class Card:
    """The headline of one split; the first figure is the one in large type."""

    split: str
    title: str
    size: str
    sentence: str
    figures: tuple[Figure, ...]


def make_figure(key: str, metrics: Mapping[str, Any], classes: Sequence[str]) -> Figure:
    """A figure of ``metrics.json`` with its meaning for these classes."""
    name, two, more, missing = FIGURES[key]
    words = {"unit": metrics["level"], "units": plural(metrics["level"])}
    meaning = (two if len(classes) == 2 else more).format(*classes, **words)
    value, low, high = value_and_interval(key, metrics)
    return Figure(
        key=key,
        name=name,
        meaning=meaning,
        value=value,
        text=decimals(value),
        low=low,
        high=high,
        interval="" if low is None else f"{decimals(low)} to {decimals(high)}",
        missing=missing.format(**words) if value is None else "",
    )


def value_and_interval(key: str, metrics: Mapping[str, Any]) -> tuple[float | None, float | None, float | None]:
    """A figure of ``metrics.json`` and the ends of its interval, as far as there are any."""
    value = _number(metrics.get(key))
    low, high = (_number(end) for end in (metrics.get("intervals", {}).get(key) or (None, None)))
    # Drawing the one patient there is gives the same figure every time, which is no interval.
    if value is None or low is None or high is None or metrics.get("patients", 0) < 2:
        return value, None, None
    return value, low, high


def decimals(value: float | None) -> str:
    """Three decimals, or an en dash."""
    return MISSING if value is None or not math.isfinite(value) else f"{value:.3f}"


def percent(part: float, whole: float) -> str:
    """A share in whole percent, with a narrow space; an en dash of nothing. Only all is 100 and only none is 0."""
    if not whole:
        return MISSING
    share = 100 * part / whole
    if 0 < share < 1:
        return "<1\u202f%"
    if 99 < share < 100:
        return ">99\u202f%"
    return f"{share:.0f}\u202f%"


def minus(text: str) -> str:
    """Numbers with a proper minus sign."""
    return text.replace("-", "\u2212")


def number_text(value: float) -> str:
    """An intensity with four digits, or as a whole number."""
    return minus(f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}")


def operating_sentence(
    split: str, metrics: Mapping[str, Any], classes: Sequence[str], target_recall: float, *, again: bool = False
) -> str:
    """What the operating point means for one split, in one sentence; shorter where it is said `again`."""
    confusion = metrics["confusion_matrix"]
    where = {"val": "validation split", "test": "test split"}[split]
    total, units = sum(map(sum, confusion)), plural(metrics["level"])
    if len(classes) != 2:
        right = sum(confusion[n][n] for n in range(len(classes)))
        share = percent(right, total)
        classes_told = f"The model names the right one of {len(classes)} classes"
        return f"{classes_told} for {right:,} of {total:,} {units} ({share}) in the {where}."
    (_, alarms), (missed, found) = confusion
    others, findings = sum(confusion[0]), missed + found
    threshold = _number(metrics.get("threshold"))
    if again:
        begin = "In the same way, it" if threshold is None else "At the same threshold, it"
    elif threshold is None:
        begin = "With no operating point chosen, calling the more probable class, the model"
    else:
        goal = f"chosen on validation for a recall of at least {target_recall:.2f}"
        begin = f"At threshold {threshold:.3f}, {goal}, the model"
    return (
        f"{begin} finds {found:,} of {findings:,} {classes[1]} {units} ({percent(found, findings)}) in the {where} "
        f"and raises {count(alarms, 'false alarm')} on {others:,} {classes[0]} {units} ({percent(alarms, others)})."
    )


def cautions(metrics: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> list[str]:
    """What a reader must know before quoting the headline."""
    units = plural(next(iter(metrics.values()))["level"])
    found = cautions_of_splits(metrics, f"The epoch and the threshold were chosen on the validation {units}")
    if len(classes) == 2:
        mixes = [_mix(SPLIT_NAMES[split].lower(), metrics[split], classes) for split in metrics]
        found.append(
            "Precision, error and average precision hold for the mix of classes in the store only: "
            f"{'; '.join(mix for mix in mixes if mix)}. Recall and ROC AUC do not depend on it."
        )
    return found


def cautions_of_splits(metrics: Mapping[str, Mapping[str, Any]], chosen: str) -> list[str]:
    """What to know of any split: that there is no test split, where `chosen` says why that matters, or few patients."""
    found = []
    if "test" not in metrics:
        found.append(
            f"There is no test split. {chosen} that these figures are measured on, so the figures are optimistic."
        )
    patients = {SPLIT_NAMES[split].lower(): metrics[split].get("patients", 0) for split in metrics}
    few = [f"{name} has {count(number, 'patient')}" for name, number in patients.items() if number < FEW_PATIENTS]
    if few:
        found.append(
            f"The intervals come from drawing patients anew, and there are few ({', '.join(few)}): "
            f"with fewer than {FEW_PATIENTS} they are narrower than the truth, with one there are none."
        )
    return found


def count(number: int, noun: str) -> str:
    """A number and its noun, in the plural where it should be."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """More than one of it."""
    return f"{noun}es" if noun.endswith("patch") else f"{noun}s"


def _mix(name: str, metrics: Mapping[str, Any], classes: Sequence[str]) -> str:
    others, findings = (sum(row) for row in metrics["confusion_matrix"])
    if not findings:
        return ""
    unit = metrics["level"]
    return f"{others / findings:.1f} {classes[0]} {plural(unit)} for each {classes[1]} {unit} in {name}"


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
