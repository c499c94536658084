"""One pass over a feed: with gradients, or without."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxray.config.preprocessing import AugmentSpec, IntensitySpec
from voxray.errors import WorkError
from voxray.loader.augment import change_batch, draw_changes, rotate_stored
from voxray.loader.loader import Batch, PatchLoader
from voxray.loader.normalize import scale_images, valid_voxels
from voxray.metrics.curves import Floats, Ints
from voxray.training.distributed import all_gather_objects, frozen_batchnorm_stats, rank_and_world_size

Item = TypeVar("Item")


BOUNDED = ("window", "percentiles")  # intensities that lie in [0, 1]


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a step computes on.

    Attributes
    ----------
    images : Tensor of float32, (n, channel, x, y[, z])
    labels : Tensor of int64
        (n,) classes of patches, or (n, x, y[, z]) classes of voxels.
    valid : Tensor of bool, (n, 1, x, y[, z]), optional
        False where a patch is padding; only with classes of voxels.
    count : int
        Patches that count: n, or 0 where a rank only takes part.
    """

    images: torch.Tensor
    labels: torch.Tensor
    valid: torch.Tensor | None
    count: int


class TrainingTask(Protocol):
    """What a network is trained for."""

    def local_loss(self, output: Any, inputs: Inputs, total: int) -> torch.Tensor:
        """This rank's part of the mean loss of a global batch of `total` patches."""

    def validate(self, model: nn.Module, loader: PatchLoader, preprocessing: "Preprocessing") -> dict[str, float]:
        """Metrics ``val_…`` of a whole split, the same on all ranks."""


@dataclass(frozen=True)
class Preprocessing:
    """What turns a batch into the network's input.

    Attributes
    ----------
    intensity : IntensitySpec
    augment : AugmentSpec
    spatial_dims : int
        2 drops the one z of a patch, 3 keeps it.
    seed : int
    device : torch.device
    precision : str
        ``auto``, ``float32`` or ``bfloat16``.
    """

    intensity: IntensitySpec
    augment: AugmentSpec
    spatial_dims: int
    seed: int
    device: torch.device
    precision: str = "auto"

    def inputs(self, batch: Batch, epoch: int | None) -> Inputs:
        """Scaled, turned and, while training (`epoch` is given), changed at random."""
        raw = batch.images.to(self.device, non_blocking=True)
        if not len(raw):
            return self._nothing(raw, batch.masks is not None)
        inside = valid_voxels(batch.inside.to(self.device), raw.shape[2:]) if batch.masks is not None else None
        images = rotate_stored(scale_images(raw, self.intensity, batch.statistics, inside), batch.rotations)
        maps = None
        if batch.masks is not None and inside is not None:
            masks = batch.masks.to(self.device, non_blocking=True).unsqueeze(1)
            # The mask and where it counts are turned together.
            maps = rotate_stored(torch.cat([masks, inside.to(masks.dtype)], 1), batch.rotations)
        if epoch is not None and self.augment != AugmentSpec():
            x, y, z = images.shape[2:]
            key = (self.seed, epoch, batch.step)
            changes = draw_changes(self.augment, key, batch.total, batch.positions, (x, y, z))
            images, maps = change_batch(images, maps, changes, self.intensity.kind in BOUNDED)
        labels = batch.labels.to(self.device) if maps is None else self._flat(maps[:, 0]).long()
        valid = None if maps is None else self._flat(maps[:, 1:]).bool()
        return Inputs(self._formed(images), labels, valid, len(batch.rows))

    def _nothing(self, raw: torch.Tensor, masks: bool) -> Inputs:
        """A patch of no weight, for a rank whose share ran out: it still takes part in the step."""
        images = self._formed(raw.new_zeros((1, *raw.shape[1:]), dtype=torch.float32))
        if not masks:
            return Inputs(images, torch.zeros(1, dtype=torch.int64, device=self.device), None, 0)
        shape = (1, *images.shape[2:])
        labels = torch.zeros(shape, dtype=torch.int64, device=self.device)
        return Inputs(images, labels, torch.zeros((1, *shape), dtype=torch.bool, device=self.device), 0)

    def _flat(self, maps: torch.Tensor) -> torch.Tensor:
        return maps if self.spatial_dims == 3 else maps[..., 0]

    def _formed(self, images: torch.Tensor) -> torch.Tensor:
        return self._flat(images).contiguous(memory_format=self.layout)

    def autocast(self) -> torch.autocast:
        """bfloat16 as the experiment says."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.half)

    @property
    def half(self) -> bool:
        """Whether the network computes in bfloat16: on a GPU, unless the experiment says otherwise."""
        return self.device.type == "cuda" if self.precision == "auto" else self.precision == "bfloat16"

    @property
    def layout(self) -> torch.memory_format:
        """Channels last, which is faster but for bfloat16 on a CPU: there it costs what bfloat16 gains."""
        if self.half and self.device.type == "cpu":
            return torch.contiguous_format
        return torch.channels_last_3d if self.spatial_dims == 3 else torch.channels_last


@dataclass(frozen=True)
class EpochResult:
    """What came of a training pass.

    Attributes
    ----------
    loss : float
        Mean of the epoch; NaN where the pass was stopped.
    seconds : float
    wait_share : float
        Of the seconds, for patches.
    patches, own_patches : int
        Of this pass: those of all ranks, and of this one.
    steps, done : int
        Of the epoch. Fewer are done than there are where the pass was stopped.
    loss_sums : tuple of float
        What each rank's parts of the loss come to, from the first step of the epoch on.
    """

    loss: float
    seconds: float
    wait_share: float
    patches: int
    own_patches: int
    steps: int
    done: int
    loss_sums: tuple[float, ...]


@dataclass(frozen=True, eq=False)
class Predictions:
    """Every patch of a split once, in the order of the index.

    Attributes
    ----------
    rows : ndarray of int, (n,)
        Rows of the split's index.
    labels : ndarray of int, (n,)
    probabilities : ndarray, (n, classes)
    loss : float
        Mean cross-entropy.
    """

    rows: Ints
    labels: Ints
    probabilities: Floats
    loss: float


def train_epoch(
    model: nn.Module,
    loader: PatchLoader,
    optimizer: torch.optim.Optimizer,
    preprocessing: Preprocessing,
    epoch: int,
    task: TrainingTask,
    rate: Callable[[float, int], float],
    on_step: Callable[[int, int], None],
    *,
    first: int = 0,
    loss_sums: Sequence[float] = (),
    stop: Callable[[int], bool] = lambda step: False,
) -> EpochResult:
    """Fit the model to every patch of the feed once.

    Parameters
    ----------
    task : TrainingTask
    rate : callable
        (progress in epochs, steps of an epoch) → learning rate.
    on_step : callable
        Is told (step, steps) after each step.
    first : int
        Steps that an earlier pass did, which was stopped.
    loss_sums : sequence of float
        As that pass reported them.
    stop : callable
        Is asked after each step (number of those done), on all ranks, whether to end here.

    Raises
    ------
    WorkError
        The loss is no longer a finite number.
    """
    model.train()
    rank, ranks = rank_and_world_size()
    steps, patches, own, done = len(loader.steps(epoch)), 0, 0, first
    total = torch.tensor(sum(loss_sums[rank::ranks]), dtype=torch.float64, device=preprocessing.device)
    began = time.perf_counter()
    clock = _WaitClock()
    for batch in clock.watch(loader.epoch(epoch, first)):
        seed_step(preprocessing.seed, epoch, batch.step, rank)
        _set_rate(optimizer, rate(epoch + batch.step / steps, steps))
        inputs = preprocessing.inputs(batch, epoch)
        with preprocessing.autocast(), nullcontext() if inputs.count else frozen_batchnorm_stats(model):
            output = model(inputs.images)
        part = task.local_loss(output, inputs, batch.total) * float(inputs.count > 0)
        optimizer.zero_grad(set_to_none=True)
        # Process groups average gradients over ranks; the parts are to be added.
        (part * ranks).backward()
        optimizer.step()
        total += part.detach().double() * batch.total
        patches, own, done = patches + batch.total, own + inputs.count, batch.step + 1
        on_step(done, steps)
        if done < steps and stop(done):
            break
    sums = tuple(all_gather_objects(float(total)))
    loss = sum(sums) / max(loader.count, 1)
    if not math.isfinite(loss):
        raise WorkError(f"epoch {epoch + 1}", f"the training loss is {loss}", "Lower training.learning_rate")
    seconds = time.perf_counter() - began
    loss = loss if done == steps else math.nan
    return EpochResult(loss, seconds, clock.seconds / seconds, patches, own, steps, done, sums)


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """The same (seed, epoch, step, rank) gives the same dropout, wherever training was interrupted."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, step, rank]).generate_state(1)[0]))


Part = tuple[Ints, Floats] | None


def predict_pass(model: nn.Module, loader: PatchLoader, preprocessing: Preprocessing) -> Predictions:
    """Probabilities for every patch of the feed, exactly once, from all ranks together."""
    return join_predictions(all_gather_objects(predict_part(model, loader, preprocessing)), loader.labels.numpy())


@torch.no_grad()
def predict_part(
    model: nn.Module,
    loader: PatchLoader,
    preprocessing: Preprocessing,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
) -> Part:
    """Rows and logits of the patches that this rank reads; None where it has none."""
    steps = len(loader.steps(None))
    model.eval()
    rows: list[NDArray[np.int64]] = []
    logits: list[torch.Tensor] = []
    for batch in loader.epoch(None):
        if len(batch.rows):
            with preprocessing.autocast():
                logits.append(model(preprocessing.inputs(batch, None).images).double().cpu())
            rows.append(batch.rows)
        on_step(batch.step + 1, steps)
    return (np.concatenate(rows), torch.cat(logits).numpy()) if rows else None


def join_predictions(parts: list[Part], labels: Ints) -> Predictions:
    """Put the (rows, logits) of several ranks together."""
    known = [part for part in parts if part is not None]
    if not known:
        return Predictions(np.array([], np.int64), labels[:0], np.empty((0, 2)), math.nan)
    rows = np.concatenate([part[0] for part in known])
    order = np.argsort(rows)
    rows = rows[order]
    logits = torch.from_numpy(np.concatenate([part[1] for part in known])[order])
    truth = labels[rows]
    loss = float(nn.functional.cross_entropy(logits, torch.from_numpy(truth)))
    return Predictions(rows, truth, logits.softmax(1).numpy(), loss)


class _WaitClock:
    """Adds up the time that a loop waits for its next item."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def watch(self, items: Iterable[Item]) -> Iterator[Item]:
        iterator = iter(items)
        while True:
            began = time.perf_counter()
            try:
                item = next(iterator)
            except StopIteration:
                return
            finally:
                self.seconds += time.perf_counter() - began
            yield item


def _set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate
