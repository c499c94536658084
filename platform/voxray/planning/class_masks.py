"""Masks with one file for each class: which file is of which class, and which class is read over which."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from voxray.errors import ScanError
from voxray.planning.found import Case, some
from voxray.planning.names import BETWEEN, Named, prefixes, take_apart
from voxray.scans.masks import check_whole
from voxray.scans.read import open_scan
from voxray.storage.paths import AnyPath, join_path

THREADS = 4
LEAST_CASES = 2  # with a class, before a name is that of a class


class Key(NamedTuple):
    """What an image and its mask have in common."""

    split: str | None
    folders: tuple[str, ...]
    stem: str


@dataclass(frozen=True)
class ClassMask:
    """A mask of one class of a case."""

    key: Key
    name: str
    path: str


def find_class_masks(masks: Iterable[Named], images: Sequence[Named]) -> list[ClassMask]:
    """The masks that are named after an image and a class: ``case_liver``, ``case/liver`` or ``liver/case``.

    A case counts where one of its classes is one of another case too. Names are those of classes where a case has
    several, or all have the same.
    """
    keys = {Key(image.split, image.folders, stem) for image in images for stem in prefixes(image.stem)}
    found = [each for mask in masks if (each := _class_of(mask, keys)) is not None]
    cases = Counter(name for name, _ in {(each.name, each.key) for each in found})
    several = len({each.key for each in found}) < len({(each.key, each.name) for each in found})
    if not several and len(cases) > 1:
        return []
    certain = {each.key for each in found if cases[each.name] >= LEAST_CASES}
    return [each for each in found if each.key in certain]


def _class_of(mask: Named, keys: set[Key]) -> ClassMask | None:
    stems = [stem for stem in prefixes(mask.stem) if stem != mask.stem]
    of_name = [(Key(mask.split, mask.folders, stem), mask.stem[len(stem) :].strip(BETWEEN)) for stem in stems]
    of_folder = [
        (Key(mask.split, (*mask.folders[:place], *mask.folders[place + 1 :]), mask.stem), name)
        for place, name in enumerate(mask.folders)
    ]
    whole = [pair for pair in of_name if not pair[0].stem]
    for key, name in (*(pair for pair in of_name if pair[0].stem), *of_folder, *whole):
        if key in keys and (key.stem or key.folders) and not name.isdecimal():
            return ClassMask(key, name, mask.path)
    return None


def find_binary_files(root: AnyPath, paths: Sequence[str]) -> set[str]:
    """The files that are masks by their voxels, where no name says so: ``case/liver.nii`` beside ``case/ct.nii``.

    Names that several folders have are read once each; a mask has two values, of which one is 0.
    """
    by_name: dict[str, list[Named]] = defaultdict(list)
    for named in map(take_apart, paths):
        if named.folders:
            by_name[named.stem.removeprefix(named.folders[-1]).strip(BETWEEN)].append(named)
    repeated = {name: files for name, files in by_name.items() if len(files) >= LEAST_CASES}
    if len(repeated) < 2:
        return set()
    binary = [name for name, files in repeated.items() if _is_binary(join_path(root, files[0].path))]
    if len(binary) == len(repeated):
        return set()
    return {named.path for name in binary for named in repeated[name]}


def _is_binary(path: AnyPath) -> bool:
    try:
        values = np.unique(open_scan(path).array)
    except ScanError:
        return False
    return len(values) == 2 and values[0] == 0 and bool(values[1] == np.rint(values[1]))


def join_class_masks(root: AnyPath, cases: Sequence[Case]) -> tuple[list[Case], tuple[str, ...], list[str]]:
    """Cases with one path for the masks of all classes, the classes in their order, and notes.

    The larger ones come first, because later classes are read over earlier ones.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        counted = list(pool.map(lambda case: _count(root, case), cases))
    sizes: Counter[str] = Counter({name: 0 for case in cases for name in case.class_masks})
    overlaps: dict[tuple[str, str], list[str]] = defaultdict(list)
    for case, (voxels, pairs) in zip(cases, counted, strict=True):
        sizes.update(voxels)
        for pair in pairs:
            overlaps[pair].append(case.name)
    classes = tuple(sorted(sizes, key=lambda name: (-sizes[name], name)))
    if len(classes) < 2:
        alone = [next(iter(case.class_masks.values()), case.mask) for case in cases]
        return [replace(case, mask=mask, class_masks={}) for case, mask in zip(cases, alone, strict=True)], (), []
    notes = [f"each class has a mask of its own; later ones are read over earlier ones: {', '.join(classes)}"]
    for pair, names in sorted(overlaps.items()):
        under, over = sorted(pair, key=classes.index)
        notes.append(f"'{under}' and '{over}' overlap in {some(names)}: there the class is '{over}'")
    joined = [
        replace(case, mask="{" + ",".join(case.class_masks.get(name, "") for name in classes) + "}")
        if case.class_masks
        else case
        for case in cases
    ]
    return joined, classes, notes


def _count(root: AnyPath, case: Case) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Voxels of each class, and classes that overlap; what cannot be read is found when masks are checked."""
    masks = {}
    for name, path in sorted(case.class_masks.items()):
        try:
            mask = open_scan(join_path(root, path))
            check_whole(mask, path)
            masks[name] = mask.array != 0
        except ScanError:
            continue
    names = list(masks)
    pairs = [
        (one, other)
        for place, one in enumerate(names)
        for other in names[place + 1 :]
        if masks[one].shape == masks[other].shape and bool((masks[one] & masks[other]).any())
    ]
    return {name: int(mask.sum()) for name, mask in masks.items()}, pairs
