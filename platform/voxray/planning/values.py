"""The values of masks, and the classes that they are."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from voxray.config.labels import MOST_CLASSES, MaskLabels, mask_labels
from voxray.errors import DataError
from voxray.planning.found import some

VOID = 255  # of unlabeled voxels since PASCAL VOC, where there are other classes
MOST_VALUE = 2**16 - 1
BACKGROUND = "background"

Scans = Mapping[int, Sequence[str]]  # the scans whose masks have each value


@dataclass(frozen=True)
class NamedValues:
    """The classes of masks.

    Attributes
    ----------
    labels : MaskLabels
    settings : dict
        The settings of ``[data]`` for them, but for ``classes``.
    warnings, notes : tuple of str
    """

    labels: MaskLabels
    settings: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def problems(self, values: Scans) -> dict[str, str]:
        """The problem of each scan whose mask has a value without a name."""
        known = {*self.labels.values, self.labels.ignored}
        odd = [value for value in values if value not in known]
        return {scan: f"its mask has the value {value}, which has no name" for value in odd for scan in values[value]}

    def rare(self, values: Scans) -> list[str]:
        """Classes that one scan has, so that training and evaluation cannot both see them."""
        labels = self.labels
        members = labels.regions or [(number,) for number in range(1, len(labels.classes))]
        found = []
        for name, numbers in zip(labels.classes[1:], members, strict=True):
            scans = {scan for number in numbers for scan in values.get(labels.values[number], ())}
            if len(scans) == 1:
                found.append(f"the class '{name}' is in one scan only: {scans.pop()}")
        return found


def name_values(
    values: Scans,
    where: str,
    names: Mapping[int, str] | None = None,
    regions: Mapping[str, Sequence[int]] | None = None,
    ignored: int | None = None,
) -> NamedValues:
    """The classes of masks.

    Parameters
    ----------
    values : mapping of int to sequence of str
        The scans that have each value.
    where : str
        The folder, for messages.
    names : mapping of int to str, optional
        Of values, where the folder has them; otherwise each value is a class.
    regions : mapping of str to sequence of int, optional
        Classes that are unions of values.
    ignored : int, optional
        The value of voxels that are not labeled; without names it is 255 where there are several classes beside it.

    Raises
    ------
    DataError
        No mask has a class, or the values are no classes.
    """
    if not any(value for value in values if value != ignored):
        raise DataError(where, "no mask has a labeled voxel: all values are 0", "Check that these are the masks")
    settings: dict[str, Any] = {} if ignored is None else {"ignore_label": ignored}
    if regions:
        settings["regions"] = {name: list(members) for name, members in regions.items()}
        labels = mask_labels((BACKGROUND,), settings)
        return NamedValues(labels, settings, tuple(_unused(labels, values)))
    if names:
        known = {0: BACKGROUND, **{value: name for value, name in names.items() if value != ignored}}
        notes: list[str] = []
    else:
        known, notes = _names(values, where)
        if VOID in values and VOID not in known:
            settings["ignore_label"] = VOID
    ordered = sorted(known)
    if ordered != list(range(len(ordered))):
        settings["label_values"] = ordered
        pairs = ", ".join(f"{value} {known[value]}" for value in ordered)
        notes = [f"the values of the masks are {pairs}", *notes]
    labels = mask_labels([known[value] for value in ordered], settings)
    return NamedValues(labels, settings, tuple(_unused(labels, values)), tuple(notes))


def _names(values: Scans, where: str) -> tuple[dict[int, str], list[str]]:
    """A name for each value, and notes."""
    labeled = sorted(value for value in values if value)
    if labeled[0] < 0 or labeled[-1] > MOST_VALUE or len(labeled) >= MOST_CLASSES:
        got = f"{len(values):,} values from {min(values)} to {max(values)}"
        problem = f"masks need at most {MOST_CLASSES} values from 0 to {MOST_VALUE:,}, got {got}"
        raise DataError(where, problem, "Number the classes from 0")
    notes = []
    if len(labeled) > 1 and labeled[-1] == VOID and len(labeled) < VOID:
        labeled = labeled[:-1]
        notes = [f"voxels with the value {VOID} count as not labeled; if it is a class, put it into data.label_values"]
    names = {value: "foreground" if len(labeled) == 1 else f"class {value}" for value in labeled}
    return {0: BACKGROUND, **names}, notes


def _unused(labels: MaskLabels, values: Scans) -> list[str]:
    pairs = zip(labels.values, labels.names, strict=True)
    unused = [f"{value} {name}" for value, name in pairs if value and value not in values]
    return [f"no mask has the value {some(unused)}"] if unused else []


def without(values: Scans, scans: Collection[str]) -> dict[int, list[str]]:
    """The scans of each value without some."""
    kept = {value: [name for name in names if name not in scans] for value, names in values.items()}
    return {value: names for value, names in kept.items() if names}
