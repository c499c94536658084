"""Images and masks that belong together by their names: in two folders, in a folder for each case, or in one folder.

``images/a.nii`` and ``masks/a.nii``; ``a/image.nii`` and ``a/mask.nii``; ``a_t1.nii``, ``a_flair.nii`` and
``a_seg.nii``; ``sub-1/anat/sub-1_T1w.nii`` and ``derivatives/x/sub-1/anat/sub-1_dseg.nii``; a file for each class, as
``a/segmentations/liver.nii`` and ``masks/a_liver.nii``.
"""

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from voxray.errors import DataError
from voxray.planning.class_masks import ClassMask, Key, find_class_masks
from voxray.planning.found import CHANNEL, MOST_NAMED, Case, Found, LeftOver, some
from voxray.planning.names import BETWEEN, Named, prefixes, take_apart

CHANNEL_NUMBER = re.compile(r"\d{4}")
KIND = "images and masks, paired by their names"


def find_pairs(paths: Sequence[str], where: str, known_masks: Collection[str] = ()) -> Found | None:
    """Pair the files of a folder; None where no name says that it is a mask.

    Parameters
    ----------
    paths : sequence of str
        Scans, relative to the folder.
    where : str
        The folder, for messages.
    known_masks : collection of str
        Paths of masks whose names do not say so.

    Raises
    ------
    DataError
        No image has the name of a mask.
    """
    named = [replace(name, is_mask=name.is_mask or name.path in known_masks) for name in map(take_apart, paths)]
    masks = [name for name in named if name.is_mask]
    if not masks:
        return None
    others = [name for name in named if not name.is_mask]
    images = [name for name in others if not name.derived]
    left_over = [LeftOver(name.path, "is a derivative, and no mask") for name in others if name.derived]
    by_key: dict[Key, list[Named]] = defaultdict(list)
    for mask in masks:
        by_key[Key(mask.split, mask.folders, mask.stem)].append(mask)
    members, unmatched = _members(images, by_key)
    alone = [mask for key, of_key in by_key.items() if not members[key] for mask in of_key]
    class_masks = find_class_masks(alone, unmatched)
    with_classes, unmatched, left = _cases_with_classes(class_masks, unmatched)
    left_over += left
    of_classes = {mask.path for mask in class_masks}
    by_key = {key: of_key for key, of_key in by_key.items() if not of_classes.issuperset(each.path for each in of_key)}
    _match_by_stem(unmatched, by_key, members)
    if not with_classes and not any(members.values()):
        problem = f"no image has the name of a mask, got the masks {_some(masks)} and the images {_some(images)}"
        raise DataError(where, problem, "Name an image and its mask alike, or list them in a CSV: path,mask")
    cases = []
    for key, of_key in by_key.items():
        case, reasons = _case(key, of_key, members[key])
        left_over += reasons
        if case is not None:
            cases.append(case)
    left_over += [LeftOver(image.path, "no mask has its name") for image in unmatched]
    cases = _with_patients(_with_labels([*cases, *with_classes]))
    return Found(KIND, tuple(cases), tuple(left_over), labels_first=False)


def _cases_with_classes(
    masks: Sequence[ClassMask], images: list[Named]
) -> tuple[list[Case], list[Named], list[LeftOver]]:
    """Cases whose classes have a mask each, the images of no such case, and masks that are not used."""
    by_key: dict[Key, list[ClassMask]] = defaultdict(list)
    for mask in masks:
        by_key[mask.key].append(mask)
    members, unmatched = _members(images, by_key)
    cases, left_over = [], []
    for key, of_key in by_key.items():
        case, reasons = _case(key, [], members[key], of_key)
        left_over += reasons
        if case is not None:
            cases.append(case)
    return cases, unmatched, left_over


def _members(images: Iterable[Named], by_key: Iterable[Key]) -> tuple[dict[Key, list[Named]], list[Named]]:
    """The images of each mask: those whose name begins with the mask's, the longest such; and images of none."""
    members: dict[Key, list[Named]] = {key: [] for key in by_key}
    unmatched = []
    for image in images:
        keys = (Key(image.split, image.folders, stem) for stem in prefixes(image.stem))
        key = next((key for key in keys if key in members), None)
        if key is None or not (key.stem or key.folders):
            unmatched.append(image)
        else:
            members[key].append(image)
    return members, unmatched


def _match_by_stem(unmatched: list[Named], by_key: dict[Key, list[Named]], members: dict[Key, list[Named]]) -> None:
    """Give masks without images those of their name in other folders, where the name is that of one mask only."""
    alone: dict[str, list[Key]] = defaultdict(list)
    for key in by_key:
        if key.stem and not members[key]:
            alone[key.stem].append(key)
    for image in list(unmatched):
        keys = next((alone[stem] for stem in prefixes(image.stem) if stem in alone), [])
        if len(keys) == 1:
            members[keys[0]].append(image)
            unmatched.remove(image)


def _case(
    key: Key, masks: list[Named], images: list[Named], class_masks: Sequence[ClassMask] = ()
) -> tuple[Case | None, list[LeftOver]]:
    """A case of one mask, or one for each class, and its images; None and the reasons where they do not match."""
    paths = [*(mask.path for mask in masks), *(mask.path for mask in class_masks)]
    name = "/".join(filter(None, (*key.folders, key.stem))) or paths[0]
    of_class = {mask.name: mask.path for mask in class_masks}
    if len(paths) > max(1, len(of_class)):
        expected = "one for each class" if of_class else "one"
        named = ", ".join(paths[:MOST_NAMED])
        return None, [LeftOver(name, f"has {len(paths)} masks, expected {expected}: {named}")]
    if not images:
        return None, [LeftOver(path, "no image has the name of this mask") for path in paths]
    files: dict[str, str] = {}
    for image in images:
        channel = _channel(image, key)
        if channel in files:
            return None, [LeftOver(name, f"has two images that are called alike: {files[channel]} and {image.path}")]
        files[channel] = image.path
    split = key.split or images[0].split
    return Case(name, files, masks[0].path if masks else None, split=split, class_masks=of_class), []


def _channel(image: Named, key: Key) -> str:
    """The part of an image's name that its mask does not have, or else its folder."""
    rest = image.stem[len(key.stem) :].strip(BETWEEN)
    if not key.stem and image.folders:
        rest = rest.removeprefix(image.folders[-1]).strip(BETWEEN)
    if CHANNEL_NUMBER.fullmatch(rest):
        return f"channel_{int(rest)}"
    return rest or "_".join(folder for folder in image.folders if folder not in key.folders) or CHANNEL


def _with_labels(cases: list[Case]) -> list[Case]:
    """Cases labeled by the folder that they lie in, where there are a few such folders with many cases each."""
    tops = [PurePosixPath(case.name).parts[0] if "/" in case.name else "" for case in cases]
    counts = {top: tops.count(top) for top in set(tops)}
    if len(counts) < 2 or "" in counts or min(counts.values()) < 2 or len(counts) ** 2 > len(cases):
        return cases
    return [replace(case, label=top) for case, top in zip(cases, tops, strict=True)]


def _with_patients(cases: list[Case]) -> list[Case]:
    """Cases with patients, where names say so: BIDS subjects, or folders whose files repeat the folder's name."""
    return [replace(case, patient=_patient(case)) for case in cases]


def _patient(case: Case) -> str | None:
    parts = PurePosixPath(case.name).parts
    subject = next((part.partition("_")[0] for part in parts if part.startswith("sub-")), None)
    if subject is not None:
        return subject
    if case.label is not None and len(parts) == 2:
        return None  # the folder is a class
    return parts[-2] if len(parts) > 1 and parts[-1].startswith(parts[-2]) else None


def _some(named: Sequence[Named]) -> str:
    return some([name.path for name in named]) or "none"
