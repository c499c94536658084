"""Choices that classification and segmentation share: the split, the type of the store, and intensities."""

import math
from collections.abc import Iterator

import numpy as np

from voxray.planning.choices import Choice
from voxray.planning.fingerprint import Fingerprint

TEST_PATIENTS = 20  # of fewer, a test says little
MOST_FOLDS = 5
INTEGERS = {"uint8": (0, 255), "int16": (-(2**15), 2**15 - 1), "uint16": (0, 2**16 - 1)}
FINE = 256  # steps between the least and the most intensity; of fewer, rounding after resampling would show
CROPPED = 0.75  # of a scan; nnU-Net standardizes nonzero voxels only where content fills less


def count_folds(data: Fingerprint) -> int:
    """Five where there are too few patients to keep some back for a test, or as many as the rarest class; else one."""
    if data.has_splits or data.patients / MOST_FOLDS >= TEST_PATIENTS:
        return 1
    rarest = data.patients if data.masks or data.points else int(data.counts.min())
    return max(2, min(MOST_FOLDS, rarest, data.patients))


def fold_text(data: Fingerprint) -> str:
    """How many networks share the time, for a reason."""
    folds = count_folds(data)
    return f" for {folds} folds" if folds > 1 else ""


def training_share(data: Fingerprint) -> float:
    """Share of the patients that train a network."""
    folds = count_folds(data)
    return 0.8 * (1 - 1 / folds) if folds > 1 else 0.6


def split_choices(data: Fingerprint) -> Iterator[Choice]:
    """Folds where patients are few; nothing where the data set brings its own split."""
    if data.has_splits:
        return
    folds = count_folds(data)
    if folds > 1:
        reason = f"{data.patients} patients: a fifth of them is too few for a test, so each one is tested in a fold"
        yield Choice("split.folds", folds, reason)
        yield Choice("split.val", 0.2)
    else:
        yield Choice("split.val", 0.2, f"of {data.patients} patients")
        yield Choice("split.test", 0.2)


def store_choices(data: Fingerprint, patch_voxels: int, *, resampled: bool) -> Iterator[Choice]:
    """The smallest type that holds all intensities, and shards of many patches."""
    least, most = _ends(data)
    span = f"intensities are {'whole numbers' if data.whole_numbers else 'fractions'} from {least:g} to {most:g}"
    yield Choice("store.dtype", _dtype(data, resampled=resampled), span)
    patch_bytes = patch_voxels * voxel_bytes(data, resampled=resampled)
    if patch_bytes < 2**18:
        yield Choice("store.shard_bytes", "8MiB", f"a patch has {math.ceil(patch_bytes / 1024):,} KiB")


def voxel_bytes(data: Fingerprint, *, resampled: bool) -> int:
    """Bytes of a stored voxel with all channels."""
    return len(data.channels) * np.dtype(_dtype(data, resampled=resampled)).itemsize


def _ends(data: Fingerprint) -> tuple[float, float]:
    return min(each.least for each in data.intensities), max(each.most for each in data.intensities)


def _dtype(data: Fingerprint, *, resampled: bool) -> str:
    """The smallest type of integers that holds all intensities exactly, else float32."""
    least, most = _ends(data)
    exact = data.whole_numbers and (not resampled or most - least >= FINE)
    holding = (name for name, (low, high) in INTEGERS.items() if exact and low <= least and most <= high)
    return next(holding, "float32")


def intensity_choices(data: Fingerprint) -> Iterator[Choice]:
    """A window for Hounsfield units and for pictures, else zero mean and unit deviation of each scan."""
    if any(each.is_ct for each in data.intensities) or _are_pictures(data):
        yield Choice("intensity.kind", "window", _window_reason(data))
        windows = [_window(data, number) for number in range(len(data.channels))]
        yield Choice("intensity.window", windows[0] if len(windows) == 1 else windows)
        return
    share = data.content_share
    if share < CROPPED:
        reason = f"no CT; the box of nonzero voxels fills {share:.0%} of a scan, less than {CROPPED:.0%}"
        yield Choice("intensity.kind", "zscore_nonzero", reason)
    else:
        yield Choice("intensity.kind", "zscore", f"no CT; nonzero voxels fill {share:.0%} of a scan")


def pad_value(data: Fingerprint) -> int:
    """The lower end of a window, else 0, which standardized patches ignore."""
    if any(each.is_ct for each in data.intensities):
        return max(-1000, math.floor(min(each.least for each in data.intensities)))
    return 0


def _are_pictures(data: Fingerprint) -> bool:
    return data.whole_numbers and all(each.least >= 0 and each.most <= 255 for each in data.intensities)


def _window(data: Fingerprint, channel: int) -> list[float]:
    each = data.intensities[channel]
    if _are_pictures(data):
        return [0, max(1, 255 if each.most > 1 else 1)]
    low, high = math.floor(each.low), math.ceil(each.high)
    return [low, max(low + 1, high)]


def _window_reason(data: Fingerprint) -> str:
    if _are_pictures(data):
        return "pictures of 8 bits"
    where = "inside the masks, as in nnU-Net" if data.masks else "of the median scan"
    return f"CT: the 0.5th and 99.5th percentile {where}"
