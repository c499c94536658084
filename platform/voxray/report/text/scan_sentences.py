"""Figures of whole scans in words: Dice, distances and so on, each for a class or as the mean over the classes."""

import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from voxray.report.run.contents import Case
from voxray.report.text.metric_values import MISSING, SPLIT_NAMES, Figure, count, decimals, minus, value_and_interval

NO_FIGURES = {"scans", "patients", "intervals"}
ALL = "mean"


@dataclass(frozen=True)
class Family:
    """What a figure is, whatever class it is of.

    Attributes
    ----------
    name, meaning : str
        `{0:g}` in the meaning stands for the tolerance of surface Dice in millimeters.
    missing : str
        Why it may have no value.
    unit : str
    is_share : bool
        Whether it lies between 0 and 1.
    digits : int
        Behind the decimal point.
    """

    name: str
    meaning: str
    missing: str
    unit: str = ""
    is_share: bool = True
    digits: int = 3


_NEITHER = "no scan has the class in truth or prediction"
_NOT_BOTH = "no scan has the class in truth and prediction"
_NO_TRUTH = "no scan has the class in its truth"

# In the order of a report. What they are where a class is missing says voxray.metrics.segmentation.
FAMILIES: dict[str, Family] = {
    "dice": Family("Dice", "twice the common volume over the sum of both volumes; 1 is a perfect match", _NEITHER),
    "surface_dice": Family(
        "Surface Dice", "share of both surfaces that lies within {0:g} mm of the other; 1 is perfect", _NEITHER
    ),
    "hd95_mm": Family(
        "HD95", "95th percentile of the distances between both surfaces; 0 is perfect", _NOT_BOTH, "mm", False, 2
    ),
    "sensitivity": Family("Sensitivity", "share of the true volume that is found", _NO_TRUTH),
    "specificity": Family("Specificity", "share of all else that is left alone; near 1 in any large scan", _NEITHER),
    "volume_error": Family(
        "Volume error", "difference of the volumes as a share of the true one; 0 is perfect", _NO_TRUTH, "", False
    ),
    "missed": Family(
        "Missed", "scans where just one of truth and prediction has the class; HD95 leaves them out", "", "", False, 0
    ),
}


def family_of(key: str) -> Family:
    """What ``dice`` or ``dice/liver`` is; a figure that is not known here has its own name and no explanation."""
    stem = key.partition("/")[0]
    name = stem.replace("_", " ").capitalize()
    return FAMILIES.get(stem) or Family(name, "", "undefined in every scan", "", False)


def figure_rows(metrics: Mapping[str, Mapping[str, Any]], classes: Sequence[str]) -> list[tuple[str, list[str]]]:
    """Every family of figures with its keys, the mean over the classes first; those that are known here come first."""
    found = dict.fromkeys(key for values in metrics.values() for key in values if key not in NO_FIGURES)
    stems = dict.fromkeys(key.partition("/")[0] for key in found)
    ordered = [*(stem for stem in FAMILIES if stem in stems), *(stem for stem in stems if stem not in FAMILIES)]
    wanted = {stem: [stem, *(f"{stem}/{name}" for name in classes[1:])] for stem in ordered}
    return [(stem, [key for key in keys if key in found]) for stem, keys in wanted.items()]


def scan_figure(key: str, metrics: Mapping[str, Any], tolerance_mm: float) -> Figure:
    """A figure of ``metrics.json``; `key` is a family, or a family and a class: ``hd95_mm/liver``."""
    stem, _, name = key.partition("/")
    family = family_of(stem)
    value, low, high = value_and_interval(key, metrics)
    return Figure(
        key=key,
        name=f"{family.name}, {name}" if name else family.name,
        meaning=family.meaning.format(tolerance_mm),
        value=value,
        text=with_unit(value, family),
        low=low,
        high=high,
        interval="" if low is None else f"{number_text(low, family)} to {number_text(high, family)}",
        missing=family.missing if value is None else "",
        is_share=family.is_share,
    )


def headline_figures(
    metrics: Mapping[str, Any], classes: Sequence[str], tolerance_mm: float, most_classes: int
) -> list[Figure]:
    """Mean Dice, Dice of each class unless they are too many, HD95 and surface Dice; as far as they were measured."""
    names = classes[1:]
    own = [f"dice/{name}" for name in names] if 1 < len(names) <= most_classes else []
    dice = [scan_figure(key, metrics, tolerance_mm) for key in ("dice", *own) if key in metrics]
    others = (_mean_of_classes(stem, metrics, names, tolerance_mm) for stem in ("hd95_mm", "surface_dice"))
    return [*dice, *(figure for figure in others if figure is not None)]


def _mean_of_classes(stem: str, metrics: Mapping[str, Any], names: Sequence[str], tolerance_mm: float) -> Figure | None:
    """The mean of a figure over the classes; it has no interval, so the worst class is told."""
    each = [scan_figure(f"{stem}/{name}", metrics, tolerance_mm) for name in names if f"{stem}/{name}" in metrics]
    if len(each) < 2:
        return each[0] if each else None
    known = [figure.value for figure in each if figure.value is not None]
    mean = scan_figure(stem, {stem: sum(known) / len(known) if known else None}, tolerance_mm)
    if not known:
        return mean
    family = family_of(stem)
    worst = max(known) if family.unit else min(known)
    return replace(mean, note=f"worst class {number_text(worst, family)}")


def number_text(value: float | None, family: Family) -> str:
    """A number with the digits of its family; an en dash where there is none."""
    return MISSING if value is None or not math.isfinite(value) else minus(f"{value:.{family.digits}f}")


def with_unit(value: float | None, family: Family) -> str:
    """A number as `number_text` gives it, with its unit after a narrow space."""
    text = number_text(value, family)
    return f"{text}\u202f{family.unit}" if family.unit and text != MISSING else text


def scans_sentence(metrics: Mapping[str, Any], cases: Sequence[Case], classes: Sequence[str], split: str) -> str:
    """What the headline means for the scans of one split, in one or two sentences."""
    where = {"val": "validation split", "test": "test split"}[split]
    over = classes[1] if len(classes) == 2 else f"{', '.join(classes[1:-1])} and {classes[-1]}"
    known = sorted(case["dice"] for case in cases if math.isfinite(case["dice"]))
    if not known:
        return f"No scan of the {where} has {over} in truth or prediction, so there is nothing to measure."
    mean = "The Dice" if len(classes) == 2 else "The mean Dice"
    first = f"{mean} of {over} is {decimals(metrics['dice'])} on {count(len(known), 'scan')} of the {where}."
    if len(known) == 1:
        return first
    rest = f"the best scan has {known[-1]:.3f}, the worst {known[0]:.3f}"
    return f"{first} Half of them reach {statistics.median(known):.3f} or more; {rest}."


def scan_cautions(cases: Mapping[str, Sequence[Case]], classes: Sequence[str]) -> Iterator[str]:
    """Say where a mean is not one over all scans."""
    for split, rows in cases.items():
        for stem, why in (("dice", "have none of it, in truth or prediction"), ("hd95_mm", "lack it in one or both")):
            for name in classes[1:]:
                lost = sum(not math.isfinite(row.get(f"{stem}/{name}", 0)) for row in rows)
                if lost:
                    left = f"{lost:,} of {count(len(rows), 'scan')}"
                    where = SPLIT_NAMES[split].lower()
                    yield f"{FAMILIES[stem].name} of {name} in the {where} split leaves out {left} that {why}."
