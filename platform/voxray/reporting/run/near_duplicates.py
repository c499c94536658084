"""Patches of the store that are almost the same in two splits, as pairs of pictures."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from voxray.errors import StoreError
from voxray.inspection.patch_duplicates import PatchPair, patch_row, read_patch_duplicates
from voxray.reporting.run.contents import RunContents
from voxray.reporting.text.numbers import SPLIT_NAMES
from voxray.runs.folder import RunFolder
from voxray.visualization.slices import display_slices, encode_png, is_picture, shorten_id, to_display_range

PIXELS = 96


@dataclass(frozen=True)
class PatchPicture:
    """The middle slice of a patch, as a data URI, and what it is of."""

    split: str
    scan_id: str
    short_id: str
    uri: str


@dataclass(frozen=True)
class PicturePair:
    """Two patches that are almost the same."""

    correlation: str
    pictures: tuple[PatchPicture, PatchPicture]


@dataclass(frozen=True)
class NearDuplicates:
    """What was found in words, and the first pairs; none of a store that was not compared or cannot be read."""

    text: str
    pairs: tuple[PicturePair, ...]


def near_duplicates(run: RunContents) -> NearDuplicates | None:
    """The near duplicates of a run's store; None where it was not searched for them."""
    found = read_patch_duplicates(RunFolder(run.folder).near_duplicates, run.store)
    if found is None:
        return None
    try:
        pairs = tuple(_draw(run, found.pairs))
    except StoreError:
        pairs = ()
    return NearDuplicates(found.text, pairs)


def _draw(run: RunContents, pairs: tuple[PatchPair, ...]) -> Iterator[PicturePair]:
    for pair in pairs:
        yield PicturePair(f"{pair.correlation:.2f}", (_picture(run, *pair.first), _picture(run, *pair.second)))


def _picture(run: RunContents, split: str, slot: int) -> PatchPicture:
    row = patch_row(run.store, (split, slot))
    patches = torch.from_numpy(run.store.read_patches(split, np.array([slot])).copy())
    (scaled,) = to_display_range(patches, run.experiment.intensity).numpy()
    slices = display_slices(scaled, is_picture(row["path"]))
    uri = encode_png(slices[len(slices) // 2], PIXELS)
    return PatchPicture(SPLIT_NAMES[split].lower(), row["scan_id"], shorten_id(row["scan_id"]), uri)
