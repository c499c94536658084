"""What the values of masks mean: classes, regions of several values, and voxels that are not labeled."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from voxray.errors import ConfigError

if TYPE_CHECKING:
    from voxray.config.data import DataSpec

IGNORED = 255  # in label maps of numbers: a voxel that counts neither in training nor in evaluation
MOST_CLASSES = 255
SETTINGS = ("label_values", "ignore_label", "regions")  # of ``[data]``


@dataclass(frozen=True)
class MaskLabels:
    """The classes of a data set with masks.

    In memory and in a store, masks hold *numbers*: those of their values in `values`, or `IGNORED`.

    Attributes
    ----------
    classes : tuple of str
        What is learned; the background first.
    given_values : tuple of int
        The values of the masks, that of the background first; empty where they are 0, 1, … as the classes are.
    ignored : int, optional
        The value of voxels that are not labeled.
    regions : tuple of tuple of int
        The numbers of the values that each class but the background consists of; empty where each is one value.
    """

    classes: tuple[str, ...]
    given_values: tuple[int, ...] = ()
    ignored: int | None = None
    regions: tuple[tuple[int, ...], ...] = ()

    @property
    def values(self) -> tuple[int, ...]:
        """The value in masks of each number."""
        return self.given_values or tuple(range(len(self.classes)))

    @property
    def names(self) -> tuple[str, ...]:
        """A name for each of `values`."""
        if not self.regions:
            return self.classes
        within = [
            [name for name, numbers in zip(self.classes[1:], self.regions, strict=True) if number in numbers]
            for number in range(1, len(self.values))
        ]
        return (self.classes[0], *(" and ".join(names) for names in within))

    @property
    def written(self) -> tuple[int, ...]:
        """The number that label maps of a prediction have for each class but the background.

        For a region it is the first of its values that no later region has, because later ones are written over
        earlier ones; where there is none, the first of its values.
        """
        if not self.regions:
            return tuple(range(1, len(self.classes)))
        written = []
        for place, numbers in enumerate(self.regions):
            later = {number for region in self.regions[place + 1 :] for number in region}
            written.append(next((number for number in numbers if number not in later), numbers[0]))
        return tuple(written)


def mask_labels(classes: Sequence[str], settings: Mapping[str, Any]) -> MaskLabels:
    """The labels of a data set.

    Parameters
    ----------
    classes : sequence of str
        Those that the data set names, the background first. Regions replace all others.
    settings : mapping
        Those of `SETTINGS` that are given, as ``[data]`` has them.

    Raises
    ------
    ConfigError
        The settings do not fit the classes or each other.
    """
    ignored, regions = settings.get("ignore_label"), settings.get("regions") or {}
    values = tuple(settings.get("label_values") or ())
    if regions:
        values = tuple(sorted({0, *(value for members in regions.values() for value in members)}))
        classes = (classes[0], *regions)
    elif values and len(values) != len(classes):
        problem = f"expected a value for each of {len(classes)} classes, got {len(values)}"
        raise ConfigError("data.label_values", problem, f"The classes are {', '.join(classes)}")
    if ignored is not None and ignored in (values or range(len(classes))):
        raise ConfigError("data.ignore_label", f"is the value of a class too, got {ignored}", "Remove one of them")
    numbers = {value: number for number, value in enumerate(values)}
    members = tuple(tuple(numbers[value] for value in sorted(region)) for region in regions.values())
    plain = values == tuple(range(len(classes)))
    return MaskLabels(tuple(classes), () if plain else values, ignored, members)


def label_settings(data: "DataSpec") -> dict[str, Any]:
    """The settings of labels that an experiment gives, for `mask_labels` and for the provenance of a store."""
    given = data.model_dump(mode="json", include=set(SETTINGS))
    return {name: value for name, value in given.items() if value is not None}
