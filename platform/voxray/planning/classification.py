"""The plan of a classification: which part of a scan a network sees, and a network of that size."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from voxray.config.training import TrainingSpec
from voxray.console.units import bytes_text, count_text
from voxray.errors import ConfigError
from voxray.models.cost.estimate import Cost, estimate_cost
from voxray.models.layers.base import Shape
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
)
from voxray.planning.fingerprint import Fingerprint
from voxray.planning.unet_rules import (
    ALIKE,
    ANISOTROPIC,
    Spacing,
    Topology,
    fit_topology,
    resampled_extents,
    target_spacing,
)

CANDIDATE_MM = 40.0  # around a candidate: the largest nodules, and what surrounds them
LARGEST_CANDIDATE = 64  # voxels along an axis
WHOLE_VOXELS = 2**18  # up to so many, a scan keeps its size
RESIZED_VOXELS = 2**20  # that a larger scan is reduced to
SLICES = 16
MULTIPLE = 8
FIRST_FILTERS = (16, 12, 8)
MOST_STEPS, MOST_FILTERS = 5, 128
FEWEST_EPOCHS, MOST_EPOCHS = 20, 60
BATCH, SMALLEST_BATCH = 32, 4
BALANCED = 3.0  # times the rarest class; beyond, classes are weighted
STEADY = 20  # validation patients of the rarest class, of fewer a rank statistic is mostly noise


@dataclass(frozen=True)
class View:
    """What a network sees of a scan: the size of patches, how they are chosen and why, and how many a scan has."""

    size: Shape
    sampling: str
    reason: str
    spacing: Spacing
    resampled: bool = False
    patches: int = 1

    @property
    def input(self) -> Shape:
        """The axes of the network."""
        return self.size[:2] if self.size[2] == 1 else self.size


def plan_classification(data: Fingerprint, budget: Budget) -> list[Proposal]:
    """The experiment for a data set whose scans, or points in scans, have classes.

    Raises
    ------
    ConfigError
        The memory does not suffice for the smallest network and batch.
    """
    view = choose_view(data)
    topology = _topology(view)
    filters, seen = _choose_filters(data, budget, view, topology)
    batch = _choose_batch(data, budget, view, topology, filters)
    choices = (
        *split_choices(data),
        *_patch_choices(data, view),
        *store_choices(data, math.prod(view.size), resampled=view.resampled or view.sampling == "resized"),
        *intensity_choices(data),
        *_augment_choices(data, view),
        network_choice("", _model_reason(topology, filters)),
        *_training_choices(data, budget, view, topology, (filters, batch, seen)),
    )
    title = f"{len(view.input)}D network for {', '.join(data.classes)}"
    return [Proposal("", title, choices, network_json(topology, filters))]


def choose_view(data: Fingerprint) -> View:
    """What the network sees: a cube around each candidate, slices through a mask, or the scan, resized if large."""
    median_mm = tuple(np.median(data.spacings_mm, axis=0).tolist())
    if data.points:
        size = tuple(min(LARGEST_CANDIDATE, max(1, 2 * round(CANDIDATE_MM / each / 2))) for each in median_mm)
        reason = f"{CANDIDATE_MM:g} mm around each candidate, at a median spacing of {by(median_mm)} mm"
        return View(size, "center", reason, median_mm)
    spacing = target_spacing(data.spacings_mm, data.extents)
    differ = data.has_spacing and bool(np.abs(data.spacings_mm / np.array(spacing) - 1).max() > 0.01)
    extents = resampled_extents(data.extents, data.spacings_mm, spacing) if differ else data.extents
    median = np.median(extents, axis=0)
    known = f"the median scan has {by(median)} voxels"
    if math.prod(median) <= WHOLE_VOXELS:
        largest = tuple(int(each) for each in np.percentile(extents, 95, axis=0, method="nearest"))
        reason = f"{known}, and 95 % of scans no more than this: a scan keeps its size"
        return View(largest, "center", reason, spacing, resampled=differ)
    if data.located and median[2] > 1:
        plane = tuple(_multiple(each) for each in np.median(data.extents, axis=0)[:2])
        reason = f"{known} and masks say where to look: slices through them, whose mean is a patient's prediction"
        return View((*plane, 1), "slices", reason, median_mm, patches=min(SLICES, int(data.extents[:, 2].min())))
    size = _reduced(np.median(data.extents, axis=0), np.array(median_mm))
    step = tuple((np.median(data.extents, axis=0) * median_mm / size).tolist())
    reason = f"{known}, more than {WHOLE_VOXELS:,}: the whole scan at about {by(step)} mm"
    return View(size, "resized", reason, step)


def network_json(topology: Topology, first: int) -> list[dict[str, Any]]:
    """The architecture file: two convolutions a level, the first level one, pooling, a mean over what is left."""
    layers: list[dict[str, Any]] = []
    ones = [1] * len(topology.patch)
    for level, kernel in enumerate(topology.kernels):
        filters = min(MOST_FILTERS, first * 2**level)
        for _ in range(1 if level == 0 else 2):
            convolution = {"type": "C", "activation": None, "num_output": filters, "kernel_size": list(kernel)}
            layers.append({**convolution, "stride": ones, "bias": False})
            layers.append({"type": "N", "normalization": "batch", "activation": "relu"})
        if level < len(topology.strides):
            stride = list(topology.strides[level])
            layers.append({"type": "P", "pool": "max", "kernel_size": stride, "stride": stride})
    return [*layers, {"type": "G"}, {"type": "D", "drop_out": 30}, {"type": "T", "activation": None}]


def _topology(view: View) -> Topology:
    fitted = fit_topology(view.spacing[: len(view.input)], view.input)
    return Topology(
        view.input, fitted.strides[: MOST_STEPS - 1], fitted.kernels[: MOST_STEPS - 1] + fitted.kernels[-1:]
    )


def _multiple(voxels: float) -> int:
    return max(MULTIPLE, MULTIPLE * round(voxels / MULTIPLE))


def _reduced(extent: Any, spacing_mm: Any) -> Shape:
    """About RESIZED_VOXELS of a scan, with voxels as alike along all axes as its own allow."""
    low, high = 0.01, 1000.0
    for _ in range(60):
        step = math.sqrt(low * high)
        size = np.minimum(extent, extent * spacing_mm / step)
        low, high = (step, high) if np.prod(size) > RESIZED_VOXELS else (low, step)
    return tuple(min(_multiple(each), int(whole)) for each, whole in zip(size, extent, strict=True))


def _cost(data: Fingerprint, budget: Budget, view: View, network: Any, batch: int) -> Cost:
    training = TrainingSpec(batch_size=batch, optimizer="adamw", ema_decay=0.99, precision=budget.precision)
    shape = (len(data.channels), *view.input)
    spec = parse_architecture(network, "a network")
    return estimate_cost(spec, shape, len(data.classes), training, "a network", gpu=budget.gpu)


def _per_epoch(data: Fingerprint, view: View) -> int:
    """Training patches of an epoch; of candidates, five negatives for each positive."""
    samples = int(min(data.counts.sum(), 6 * data.counts[1:].sum()) if data.points else data.scans * view.patches)
    return max(1, round(samples * training_share(data)))


def _choose_filters(data: Fingerprint, budget: Budget, view: View, topology: Topology) -> tuple[int, int]:
    """Filters of the first level, and the patches that the network sees in the time of one fold."""
    seconds = 60 * budget.minutes / count_folds(data)
    for filters in FIRST_FILTERS:
        flops = _cost(data, budget, view, network_json(topology, filters), 1).training_flops
        seen = int(seconds * budget.flops_per_s / flops)
        if seen >= FEWEST_EPOCHS * _per_epoch(data, view):
            break
    return filters, seen


def _choose_batch(data: Fingerprint, budget: Budget, view: View, topology: Topology, filters: int) -> int:
    network = network_json(topology, filters)
    batch, fewest_steps = BATCH, 8
    while batch > SMALLEST_BATCH and batch * fewest_steps > _per_epoch(data, view):
        batch //= 2
    while _cost(data, budget, view, network, batch).peak_bytes > budget.memory_bytes:
        if batch == 1:
            needed = bytes_text(_cost(data, budget, view, network, 1).peak_bytes)
            raise ConfigError("--memory", f"training takes {needed} or more", "Give more memory")
        batch //= 2
    return batch


def _patch_choices(data: Fingerprint, view: View) -> Iterator[Choice]:
    yield Choice("patches.size", list(view.size if view.size[2] > 1 else view.size[:2]), view.reason)
    yield Choice("patches.sampling", view.sampling)
    if view.sampling == "slices":
        yield Choice("patches.patches_per_scan", view.patches)
    if view.resampled:
        spacing = [round(each, 5) for each in view.spacing]
        yield Choice("patches.spacing_mm", spacing, "the median of the scans, which differ")
    if not data.points:
        yield Choice("patches.negatives_per_positive", "all", _counts(data))
    yield Choice("patches.oversample_rotations", [])
    yield Choice("patches.pad_value", pad_value(data))


def _counts(data: Fingerprint) -> str:
    return ", ".join(f"{count:,} {name}" for name, count in zip(data.classes, data.counts.tolist(), strict=True))


def _augment_choices(data: Fingerprint, view: View) -> Iterator[Choice]:
    flat = view.size[2] == 1 or max(view.spacing) >= ALIKE * min(view.spacing)
    thin = max(view.size) > ANISOTROPIC * min(view.size)
    if flat or thin:
        yield Choice("augment.dimensions", 2, f"turns in plane only: {by(view.size)} voxels of {by(view.spacing)} mm")
    else:
        yield Choice("augment.dimensions", 3, f"turns in space: voxels of {by(view.spacing)} mm")
    axes = ["x", "y"] if view.size[2] == 1 else ["x", "y", "z"]
    if data.points:
        yield Choice("augment.flip", axes, "candidates have no side")
    yield Choice("augment.rotate_range", 20 if data.points else 15)
    yield Choice("augment.scale", 0.15)
    yield Choice("augment.shift_voxels", 2)


def _model_reason(topology: Topology, filters: int) -> str:
    numbers = [min(MOST_FILTERS, filters * 2**level) for level in range(len(topology.kernels))]
    return f"levels of {', '.join(map(str, numbers))} filters; an axis is halved as in the plan of a segmentation"


def _training_choices(
    data: Fingerprint, budget: Budget, view: View, topology: Topology, numbers: tuple[int, int, int]
) -> Iterator[Choice]:
    filters, batch, seen = numbers
    cost = _cost(data, budget, view, network_json(topology, filters), batch)
    epochs = max(1, min(MOST_EPOCHS, round(seen / _per_epoch(data, view) / 1.2)))
    speed = f"{count_text(cost.training_flops)}FLOP a patch at {count_text(budget.flops_per_s)}FLOP/s"
    measured = "measured here" if budget.measured else "assumed"
    time = f"{budget.minutes:g} min{fold_text(data)}"
    reason = f"about {seen:,} patches in {time}, {_per_epoch(data, view):,} an epoch: {speed}, {measured}"
    yield Choice("training.epochs", epochs, f"{reason}; at most {MOST_EPOCHS}")
    yield Choice("training.batch_size", batch, f"at most {bytes_text(cost.peak_bytes)} of memory")
    yield Choice("training.optimizer", "adamw")
    yield Choice("training.learning_rate", 2e-3)
    yield Choice("training.weight_decay", 2e-2)
    yield Choice("training.schedule", "cosine")
    yield Choice("training.warmup_epochs", 1)
    yield Choice("training.ema_decay", 0.99)
    rarest, most = int(data.counts.min()), int(data.counts.max())
    if not data.points and most > BALANCED * rarest > 0:
        yield Choice("training.class_weights", "balanced", f"{_counts(data)}: more than {BALANCED:g} times the rarest")
    yield _monitor(data, rarest)
    if budget.precision != "auto":
        yield Choice("training.precision", budget.precision, "the faster one here")
    if view.patches > 1:
        yield Choice("evaluation.level", "patient", "the mean over the patches of a patient")


def _monitor(data: Fingerprint, rarest: int) -> Choice:
    if data.points:
        return Choice("training.monitor", "average_precision", "positives are rare")
    validated = round(0.25 * training_share(data) * rarest)
    if len(data.classes) == 2 and validated >= STEADY:
        return Choice("training.monitor", "roc_auc", f"about {validated} of the rarer class validate")
    return Choice("training.monitor", "loss", f"about {validated} of the rarest class validate: too few for a rank")
