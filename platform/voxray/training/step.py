"""One pass over a feed: with gradients, or without."""

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from voxray.config.experiment import AugmentSpec, IntensitySpec
from voxray.errors import WorkError
from voxray.evaluation.classification import Floats, Ints
from voxray.feed.augment import change_batch, draw_changes, rotate_stored, scale_window
from voxray.feed.loader import Batch, Feed
from voxray.training.losses import cross_entropy_part
from voxray.training.ranks import add_over_ranks, gather_objects, rank_and_ranks

Item = TypeVar("Item")


@dataclass(frozen=True)
class Recipe:
    """What turns a batch into the network's input.

    Attributes
    ----------
    intensity : IntensitySpec
    augment : AugmentSpec
    rank : int
        2 drops the one z of a patch, 3 keeps it.
    seed : int
    device : torch.device
    """

    intensity: IntensitySpec
    augment: AugmentSpec
    rank: int
    seed: int
    device: torch.device

    def images(self, batch: Batch, epoch: int | None) -> torch.Tensor:
        """Scaled, turned and, while training (`epoch` is given), changed at random: (n, channel, x, y[, z])."""
        images = scale_window(batch.images.to(self.device, non_blocking=True), self.intensity.window)
        if not len(images):
            # A rank whose share ran out still takes part in the step, with a patch of no weight.
            images = images.new_zeros((1, *images.shape[1:]))
        images = rotate_stored(images, batch.rotations)
        if epoch is not None and self.augment != AugmentSpec() and len(batch.rows):
            x, y, z = images.shape[2:]
            key = (self.seed, epoch, batch.step)
            changes = draw_changes(self.augment, key, batch.total, batch.positions, (x, y, z))
            images = change_batch(images, changes)
        images = images if self.rank == 3 else images[..., 0]
        return images.contiguous(memory_format=torch.channels_last_3d if self.rank == 3 else torch.channels_last)

    def autocast(self) -> torch.autocast:
        """bfloat16 where a GPU computes."""
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")


@dataclass(frozen=True)
class PassReport:
    """What a training pass cost."""

    loss: float
    seconds: float
    wait_share: float
    patches: int


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


def train_pass(
    model: nn.Module,
    feed: Feed,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    epoch: int,
    weights: torch.Tensor | None,
    rate: Callable[[float], float],
    on_step: Callable[[int, int], None],
) -> PassReport:
    """Fit the model to every patch of the feed once.

    Parameters
    ----------
    rate : callable
        Progress in epochs → learning rate.
    on_step : callable
        Is told (step, steps) after each step.

    Raises
    ------
    WorkError
        The loss is no longer a finite number.
    """
    model.train()
    _, ranks = rank_and_ranks()
    steps = len(feed.steps(epoch))
    total = torch.zeros((), dtype=torch.float64, device=recipe.device)
    began = time.perf_counter()
    clock = _WaitClock()
    for batch in clock.watch(feed.epoch(epoch)):
        _set_rate(optimizer, rate(epoch + batch.step / steps))
        labels = (batch.labels if len(batch.labels) else torch.zeros(1, dtype=torch.int64)).to(recipe.device)
        with recipe.autocast():
            logits = model(recipe.images(batch, epoch))
        part = cross_entropy_part(logits, labels, weights, batch.total) * float(len(batch.labels) > 0)
        optimizer.zero_grad(set_to_none=True)
        # Process groups average gradients over ranks; the parts are to be added.
        (part * ranks).backward()
        optimizer.step()
        total += part.detach().double() * batch.total
        on_step(batch.step + 1, steps)
    loss = float(add_over_ranks(total)) / max(feed.count, 1)
    if not math.isfinite(loss):
        raise WorkError(f"epoch {epoch + 1}", f"the training loss is {loss}", "Lower training.learning_rate")
    seconds = time.perf_counter() - began
    return PassReport(loss, seconds, clock.seconds / seconds, feed.count)


Part = tuple[Ints, Floats] | None


def predict_pass(model: nn.Module, feed: Feed, recipe: Recipe) -> Predictions:
    """Probabilities for every patch of the feed, exactly once, from all ranks together."""
    return join_predictions(gather_objects(predict_part(model, feed, recipe)), feed.labels.numpy())


@torch.no_grad()
def predict_part(
    model: nn.Module, feed: Feed, recipe: Recipe, on_step: Callable[[int, int], None] = lambda step, steps: None
) -> Part:
    """Rows and logits of the patches that this rank reads; None where it has none."""
    steps = len(feed.steps(None))
    model.eval()
    rows: list[NDArray[np.int64]] = []
    logits: list[torch.Tensor] = []
    for batch in feed.epoch(None):
        if len(batch.rows):
            with recipe.autocast():
                logits.append(model(recipe.images(batch, None)).double().cpu())
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
