"""What the names in a folder say: cases with their files, masks and labels, before any file is opened."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from voxray.config.validation import shown
from voxray.errors import DataError

MOST_NAMED = 5  # in one message
CHANNEL = "image"  # of cases with one file


@dataclass(frozen=True)
class Case:
    """A scan with what belongs to it; paths are relative to the root.

    Attributes
    ----------
    name : str
        For messages.
    files : mapping of str to str
        The file of each channel.
    mask, label, patient, split : str, optional
    class_masks : mapping of str to str
        The mask of each class, where each has a file of its own.
    """

    name: str
    files: Mapping[str, str]
    mask: str | None = None
    label: str | None = None
    patient: str | None = None
    split: str | None = None
    class_masks: Mapping[str, str] = field(default_factory=dict)

    @property
    def has_mask(self) -> bool:
        """Whether it has a mask of any kind."""
        return self.mask is not None or bool(self.class_masks)


@dataclass(frozen=True)
class LeftOver:
    """A file, folder or case that is not used, and why; `path` is relative to the root."""

    path: str
    reason: str


@dataclass(frozen=True)
class Found:
    """The cases of a folder.

    Attributes
    ----------
    kind : str
        How the folder is arranged, in words.
    cases : tuple of Case
    left_over : tuple of LeftOver
    notes : tuple of str
    mask_names : mapping of int to str
        Names of the values of the masks; empty where the folder does not name them.
    regions : mapping of str to tuple of int
        Classes that are unions of values of the masks.
    ignored : int, optional
        Value of voxels that count neither in training nor in evaluation.
    labels_first : bool
        Whether labels are what is learned where there are masks too: a list names them on purpose, folders may not.
    """

    kind: str
    cases: tuple[Case, ...]
    left_over: tuple[LeftOver, ...] = ()
    notes: tuple[str, ...] = ()
    mask_names: Mapping[int, str] = field(default_factory=dict)
    regions: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    ignored: int | None = None
    labels_first: bool = True


def complete_cases(found: Found, where: str) -> tuple[list[Case], tuple[str, ...], list[LeftOver]]:
    """Cases that have every channel, in one order of channels.

    A channel is what more than half of the cases have; where each case has one file only, this is the channel.

    Returns
    -------
    list of Case
    tuple of str
        Names of the channels.
    list of LeftOver
        Cases without one of them, and files of other channels.

    Raises
    ------
    DataError
        No channel is in more than half of the cases, or no case has all of them.
    """
    cases = list(found.cases)
    counts: dict[str, int] = {}
    for case in cases:
        for name in case.files:
            counts[name] = counts.get(name, 0) + 1
    if len(counts) > 1 and all(len(case.files) == 1 for case in cases):
        renamed = [replace(case, files={CHANNEL: next(iter(case.files.values()))}) for case in cases]
        return renamed, (CHANNEL,), []
    in_order = dict.fromkeys([*max((case.files for case in cases), key=len, default=()), *counts])
    channels = tuple(name for name in in_order if 2 * counts[name] > len(cases))
    if not channels:
        problem = f"the files of its cases have no name in common, got {shown(sorted(counts)[:MOST_NAMED])}"
        raise DataError(where, problem, "Give each channel one name, such as case_t1.nii, or list them in a CSV")
    complete, left_over = [], []
    for case in cases:
        left_over += [
            LeftOver(path, f"only {counts[name]} of {len(cases)} cases have a file '{name}'")
            for name, path in case.files.items()
            if name not in channels
        ]
        missing = [name for name in channels if name not in case.files]
        if missing:
            left_over.append(LeftOver(case.name, f"has no file of the channel {' and '.join(map(repr, missing))}"))
            continue
        complete.append(replace(case, files={name: case.files[name] for name in channels}))
    if not complete:
        raise DataError(where, f"no case has all channels: {', '.join(channels)}", "Add the missing files")
    return complete, channels, left_over


def with_useful_splits(cases: list[Case]) -> list[Case]:
    """The same cases; splits are left out where all have the same, which says nothing, or some have none."""
    splits = {case.split for case in cases}
    if len(splits) > 1 and None not in splits:
        return cases
    return [replace(case, split=None) for case in cases]


def some(names: Sequence[str]) -> str:
    """The first names of a list, and how many there are in all where there are more."""
    return ", ".join(names[:MOST_NAMED]) + (f" and {len(names) - MOST_NAMED} more" if len(names) > MOST_NAMED else "")
