"""The plan of a segmentation: nnU-Net's rules for what memory bounds, and what time allows beside it."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxray.config.training import TrainingSpec
from voxray.console.units import bytes_text, count_text
from voxray.errors import DataError
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.spec.load import parse_architecture
from voxray.planning.budget import Budget
from voxray.planning.choices import Choice, Proposal, by, network_choice
from voxray.planning.data_choices import (
    count_folds,
    fold_text,
    intensity_choices,
    pad_value,
    split_choices,
    store_choices,
    training_share,
    voxel_bytes,
)
from voxray.planning.fingerprint import Fingerprint
from voxray.planning.tiles import FOREGROUND_SHARE, LEAST_BUFFER, Tiles, buffer_bytes, fit_tiles
from voxray.planning.unet_rules import (
    ALIKE,
    ANISOTROPIC,
    FILTERS,
    SMALLEST_BATCH,
    Spacing,
    Topology,
    filters_by_level,
    fit_patch,
    largest_batch,
    resampled_extents,
    target_spacing,
    unet_json,
)

FIRST_FILTERS = (FILTERS, 24, 16, 12, 8)
FEWEST_PATCHES = 8_000  # that a network must see in the time; wider ones learn less from fewer
FEWEST_STEPS = 4_000
MOST_EPOCHS = 1_000
CLIP_NORM = 12  # of gradients, as in nnU-Net
VALIDATION_COST = 1 / 3  # of a training patch


@dataclass(frozen=True)
class Sizes:
    """What patches are derived from: target spacing, and scans in voxels of that size."""

    data: Fingerprint
    budget: Budget
    spacing: Spacing
    resampled: bool
    median: tuple[float, ...]
    extents: np.ndarray[Any, np.dtype[np.float64]]


def plan_segmentation(data: Fingerprint, budget: Budget) -> list[Proposal]:
    """The experiments for a data set with masks: 3D, and 2D beside it where slices are far apart.

    Raises
    ------
    DataError
        Scans are too small for a U-Net.
    ConfigError
        The memory is.
    """
    spacing = target_spacing(data.spacings_mm, data.contents)
    differing = np.abs(data.spacings_mm / np.array(spacing) - 1).max() > 0.01
    if not differing:
        spacing = tuple(np.median(data.spacings_mm, axis=0).tolist())
    median = np.median(resampled_extents(data.contents, data.spacings_mm, spacing), axis=0)
    extents = resampled_extents(data.extents, data.spacings_mm, spacing)
    sizes = Sizes(data, budget, spacing, bool(differing), tuple(median.tolist()), extents)
    if median[2] == 1:
        return [_propose(sizes, 2, "")]
    first = _propose(sizes, 3, "")
    coarse = spacing[2] > ANISOTROPIC * max(spacing[:2])
    return [first, _propose(sizes, 2, "_2d")] if coarse else [first]


def _propose(sizes: Sizes, dimensions: int, suffix: str) -> Proposal:
    data, budget = sizes.data, sizes.budget
    spacing, median = sizes.spacing[:dimensions], sizes.median[:dimensions]

    def fits(topology: Topology, batch: int, filters: int = FILTERS) -> bool:
        return _cost(sizes, topology, batch, filters).peak_bytes <= budget.memory_bytes

    topology = fit_patch(spacing, median, lambda each: fits(each, SMALLEST_BATCH))
    tiles = fit_tiles(topology.patch, sizes.extents, voxel_bytes(data, resampled=sizes.resampled))
    filters, seen = _choose_filters(sizes, topology)
    voxels = math.prod(sizes.median) * data.scans
    memory_batch = largest_batch(topology.patch, voxels, lambda batch: fits(topology, batch, filters))
    batch = max(SMALLEST_BATCH, min(memory_batch, seen // FEWEST_STEPS))
    per_epoch = max(1, round(data.scans * training_share(data))) * tiles.per_scan * tiles.crops
    validation = VALIDATION_COST / 3 * tiles.validated / tiles.crops
    epochs = max(1, min(MOST_EPOCHS, round(seen / per_epoch / (1 + validation))))
    choices = (
        *split_choices(data),
        *_patch_choices(sizes, topology, tiles),
        *store_choices(data, math.prod(tiles.size), resampled=sizes.resampled),
        *intensity_choices(data),
        *_crop_choices(sizes, topology, tiles),
        *_augment_choices(sizes, topology),
        _model_choice(sizes, topology, filters, suffix),
        *_training_choices(sizes, topology, (filters, batch, memory_batch, epochs, seen)),
        *_buffer_choice(sizes, tiles),
    )
    title = f"{dimensions}D U-Net for {', '.join(data.classes[1:])}, by the rules of nnU-Net"
    return Proposal(suffix, title, choices, unet_json(topology, filters, activation(data)))


def activation(data: Fingerprint) -> str:
    """Of the output: classes that are regions overlap."""
    return "sigmoid" if data.regions else "softmax"


def _cost(sizes: Sizes, topology: Topology, batch: int, filters: int) -> Cost:
    budget = sizes.budget
    training = TrainingSpec(
        batch_size=batch,
        optimizer="adamw",
        ema_decay=0.99,
        loss="dice_cross_entropy",
        precision=budget.precision,
    )
    network = parse_architecture(unet_json(topology, filters, activation(sizes.data)), "a U-Net")
    classes = len(sizes.data.classes)
    shape = (len(sizes.data.channels), *topology.patch)
    return estimate_cost(network, shape, classes, training, "a U-Net", gpu=budget.gpu)


def _choose_filters(sizes: Sizes, topology: Topology) -> tuple[int, int]:
    """Filters of the first level, and the patches that the network sees in the time of one fold."""
    budget = sizes.budget
    seconds = 60 * budget.minutes / count_folds(sizes.data)
    for filters in FIRST_FILTERS:
        flops = _cost(sizes, topology, SMALLEST_BATCH, filters).training_flops
        seen = int(seconds * budget.flops_per_s / flops)
        if seen >= FEWEST_PATCHES:
            break
    return filters, seen


def _patch_choices(sizes: Sizes, topology: Topology, tiles: Tiles) -> Iterator[Choice]:
    data, covers = sizes.data, f"a patch at the center holds {tiles.covers:.0%} of the voxels of a scan"
    if tiles.crop is None:
        yield Choice("patches.size", list(tiles.size), _input_reason(sizes, topology))
        yield Choice("patches.sampling", "center", covers)
    else:
        stored = "whole scans are" if tiles.whole else "parts of scans are"
        reason = f"{stored} stored, larger than the network's input of {by(tiles.crop)}, which is cropped from them"
        yield Choice("patches.size", list(tiles.size), reason)
        if tiles.whole:
            yield Choice("patches.sampling", "center", "nearly all of a scan is in it")
        else:
            yield Choice("patches.sampling", "foreground", "scans are larger: parts are drawn where they touch a class")
            yield Choice("patches.min_foreground", 0.0)
            yield Choice("patches.patches_per_scan", tiles.per_scan)
    if sizes.resampled:
        ranges = zip(data.spacings_mm.min(axis=0), data.spacings_mm.max(axis=0), strict=True)
        spread = " × ".join(f"{low:.3g}–{high:.3g}" for low, high in ranges)
        rule = "the median, and the 10th percentile along a coarse axis"
        yield Choice(
            "patches.spacing_mm", [round(each, 5) for each in sizes.spacing], f"{rule}; scans have {spread} mm"
        )
    yield Choice("patches.oversample_rotations", [])
    yield Choice("patches.pad_value", pad_value(data))


def _input_reason(sizes: Sizes, topology: Topology) -> str:
    share = math.prod(topology.patch) / math.prod(sizes.median[: len(topology.patch)])
    divisors = f"divisible by the strides {by(topology.divisors)}; {bytes_text(sizes.budget.memory_bytes)} of memory"
    return f"the median scan has {by(sizes.median)} voxels, of which this is {share:.0%}; {divisors}"


def _crop_choices(sizes: Sizes, topology: Topology, tiles: Tiles) -> Iterator[Choice]:
    """What the network gets of a stored patch, where that is larger."""
    if tiles.crop is None:
        return
    yield Choice("augment.crop", list(tiles.crop), _input_reason(sizes, topology))
    reason = f"a tile has {math.prod(tiles.size) / math.prod(tiles.crop):.1f} times the voxels of a crop"
    yield Choice("augment.crops_per_patch", tiles.crops, reason)
    yield Choice("augment.foreground_share", FOREGROUND_SHARE, "a third of the crops is centered on a class")


def _buffer_choice(sizes: Sizes, tiles: Tiles) -> Iterator[Choice]:
    size = buffer_bytes(tiles, voxel_bytes(sizes.data, resampled=sizes.resampled))
    if tiles.crop is not None and size > LEAST_BUFFER:
        reason = "so many tiles are shuffled that those of a batch come from several scans"
        yield Choice("training.buffer_bytes", f"{size // 2**20}MiB", reason)


def _augment_choices(sizes: Sizes, topology: Topology) -> Iterator[Choice]:
    spacing = by(sizes.spacing)
    flat = len(topology.patch) == 2 or max(sizes.spacing) >= ALIKE * min(sizes.spacing)
    thin = max(topology.patch) > ANISOTROPIC * min(topology.patch)
    if flat or thin:
        yield Choice(
            "augment.dimensions", 2, f"turns in plane only: voxels of {spacing} mm, {by(topology.patch)} of them"
        )
    else:
        yield Choice("augment.dimensions", 3, f"turns in space: voxels of {spacing} mm")
    yield Choice("augment.rotate_range", 20, "no flips: mirrored organs may be those of no patient")
    yield Choice("augment.scale", 0.2)
    yield Choice("augment.shift_voxels", 3)
    yield Choice("augment.elastic_voxels", 1)
    yield Choice("augment.brightness", 0.25)
    yield Choice("augment.contrast", 0.25)
    yield Choice("augment.gamma", 0.3)
    yield Choice("augment.noise", 0.1)


def _model_choice(sizes: Sizes, topology: Topology, filters: int, suffix: str) -> Choice:
    levels = len(topology.kernels)
    numbers = filters_by_level(levels, len(topology.patch), filters)
    reason = (
        f"{levels} levels of {', '.join(map(str, numbers))} filters; an axis is halved while 8 voxels are left and its "
        f"spacing is within a factor of two of the finest, {by(sizes.spacing[: len(topology.patch)])} mm"
    )
    if filters < FILTERS:
        reason += f"; {FILTERS} filters at the first level would see fewer than {FEWEST_PATCHES:,} patches in the time"
    return network_choice(suffix, reason)


def _training_choices(sizes: Sizes, topology: Topology, numbers: tuple[int, int, int, int, int]) -> Iterator[Choice]:
    filters, batch, memory_batch, epochs, seen = numbers
    budget, cost = sizes.budget, _cost(sizes, topology, batch, filters)
    each = f"{budget.minutes:g} min{fold_text(sizes.data)}"
    speed = f"{count_text(budget.flops_per_s)}FLOP/s, {'measured here' if budget.measured else 'assumed'}"
    flops = f"{count_text(cost.training_flops)}FLOP a patch"
    yield Choice("training.epochs", epochs, f"about {seen:,} patches in {each}: {flops} at {speed}")
    limit = f"{memory_batch} fit the memory and 5 % of all voxels"
    fewer = f", {batch} make {seen // batch:,} steps" if batch < memory_batch else ""
    yield Choice("training.batch_size", batch, f"{limit}{fewer}; at most {bytes_text(cost.peak_bytes)}")
    yield Choice("training.optimizer", "adamw")
    yield Choice("training.learning_rate", 2e-3)
    yield Choice("training.weight_decay", 1e-2)
    yield Choice("training.schedule", "cosine")
    yield Choice("training.warmup_epochs", 1)
    yield Choice("training.gradient_clip_norm", CLIP_NORM)
    yield Choice("training.ema_decay", 0.998 if seen // batch >= FEWEST_STEPS // 2 else 0.99)
    yield Choice("training.loss", "dice_cross_entropy")
    yield Choice("training.monitor", "dice")
    if budget.precision != "auto":
        yield Choice("training.precision", budget.precision, "the faster one here")


def check_masks(data: Fingerprint) -> None:
    """Raise DataError where no mask has a voxel of any class."""
    if data.counts[1:].sum() == 0:
        raise DataError("plan", "no mask has a voxel of any class", "Correct the masks, or what was understood")
