"""One pass over the training split, step by step."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from torch import nn

from voxray.errors import WorkError
from voxray.loader.loader import PatchLoader
from voxray.training.checkpoint import Progress
from voxray.training.distributed import (
    all_gather_objects,
    all_reduce_sum,
    frozen_batchnorm_stats,
    rank_and_world_size,
)
from voxray.training.inputs import Inputs, Preprocessing

Item = TypeVar("Item")


class TrainingTask(Protocol):
    """What a network is trained for."""

    def local_loss(self, output: Any, inputs: Inputs, total: int) -> torch.Tensor:
        """This rank's share of the mean loss of a global batch of `total` patches."""

    def count(self, output: Any, inputs: Inputs) -> torch.Tensor:
        """Counts of this rank's part of a batch, (counts,), on its device; those of an epoch add up."""

    def train_metrics(self, counts: Sequence[float]) -> dict[str, float]:
        """Metrics ``train_…`` of an epoch from the sums of `count` over its steps and all ranks."""

    def validate(self, model: nn.Module, loader: PatchLoader, preprocessing: Preprocessing) -> dict[str, float]:
        """Metrics ``val_…`` of a whole split, the same on all ranks."""


@dataclass(frozen=True)
class EpochResult:
    """Result of a pass over the training split, which may have been stopped.

    Attributes
    ----------
    loss : float
        Mean of the epoch; NaN if the pass was stopped.
    seconds : float
    wait_share : float
        Share of the seconds that was spent waiting for patches.
    patches, local_patches : int
        Patches of this pass, of all ranks and of this one.
    steps, done : int
        Steps of the epoch, and those that are done; fewer if the pass was stopped.
    loss_sums : tuple of float
        Sum of the local losses of each rank since the first step of the epoch.
    counts : tuple of float
        Sums of `TrainingTask.count` over all ranks since the first step of the epoch.
    """

    loss: float
    seconds: float
    wait_share: float
    patches: int
    local_patches: int
    steps: int
    done: int
    loss_sums: tuple[float, ...]
    counts: tuple[float, ...]


@dataclass(frozen=True)
class Updates:
    """How the gradients of steps become updates of the weights.

    Attributes
    ----------
    rate : callable
        (progress in epochs, updates of an epoch) → learning rate.
    every : int
        Steps of an update; the last one of an epoch may have fewer.
    clip_norm : float
        Largest norm of the gradients of all weights together; 0 if there is none.
    """

    rate: Callable[[float, int], float]
    every: int = 1
    clip_norm: float = 0.0

    def opens(self, step: int) -> bool:
        """Whether a step is the first one of an update."""
        return step % self.every == 0

    def closes(self, step: int, steps: int) -> bool:
        """Whether a step is the last one of an update."""
        return (step + 1) % self.every == 0 or step + 1 == steps

    def share(self, step: int, patches: Sequence[int]) -> float:
        """Share of a step's patches in those of its update, of the patches of all steps of the epoch."""
        first = step - step % self.every
        return patches[step] / sum(patches[first : first + self.every])

    def learning_rate(self, epoch: int, step: int, steps: int) -> float:
        """Learning rate of a step, which is that of its update."""
        updates = math.ceil(steps / self.every)
        return self.rate(epoch + step // self.every / updates, updates)

    def apply(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Update the weights with their gradients, which are those of all ranks by now."""
        if self.clip_norm:
            nn.utils.clip_grad_norm_(model.parameters(), self.clip_norm)
        optimizer.step()


def train_epoch(
    model: nn.Module,
    loader: PatchLoader,
    optimizer: torch.optim.Optimizer,
    preprocessing: Preprocessing,
    task: TrainingTask,
    progress: Progress,
    updates: Updates,
    *,
    on_step: Callable[[int, int], None] = lambda step, steps: None,
    stop: Callable[[int], bool] = lambda step: False,
) -> EpochResult:
    """Fit the model to every patch of the loader once, or to those that a stopped pass left.

    Parameters
    ----------
    model : nn.Module
    loader : PatchLoader
    optimizer : torch.optim.Optimizer
    preprocessing : Preprocessing
    task : TrainingTask
    progress : Progress
        The epoch, and the steps of it that an earlier pass did before it was stopped.
    updates : Updates
    on_step : callable
        Called with (step, steps) after each step.
    stop : callable
        Called on all ranks with the number of finished steps, after an update; True ends the pass.

    Raises
    ------
    WorkError
        The loss is not finite.
    """
    model.train()
    rank, ranks = rank_and_world_size()
    epoch, done = progress.epoch, progress.step
    totals = loader.steps(epoch).sum(axis=1).tolist()
    steps, patches, local_patches = len(totals), 0, 0
    total = torch.tensor(sum(progress.loss_sums[rank::ranks]), dtype=torch.float64, device=preprocessing.device)
    # One number, which each count is added to, or those of the steps before, which count once.
    earlier = progress.counts if progress.counts and rank == 0 else 0.0
    counts = torch.tensor(earlier, dtype=torch.float64, device=preprocessing.device)
    began = time.perf_counter()
    clock = _WaitClock()
    for batch in clock.watch(loader.epoch(epoch, done)):
        seed_step(preprocessing.seed, epoch, batch.step, rank)
        for group in optimizer.param_groups:
            group["lr"] = updates.learning_rate(epoch, batch.step, steps)
        inputs = preprocessing.inputs(batch, epoch)
        with preprocessing.autocast(), nullcontext() if inputs.count else frozen_batchnorm_stats(model):
            output = model(inputs.images)
        local_loss = task.local_loss(output, inputs, batch.total) * float(inputs.count > 0)
        if updates.opens(batch.step):
            optimizer.zero_grad(set_to_none=True)
        # Process groups average gradients over ranks, but local losses add up.
        (local_loss * (ranks * updates.share(batch.step, totals))).backward()
        if updates.closes(batch.step, steps):
            updates.apply(model, optimizer)
        total += local_loss.detach().double() * batch.total
        # After the backward pass, which has freed its memory; the device is not waited for.
        counts = counts + task.count(output, inputs)
        patches, local_patches, done = patches + batch.total, local_patches + inputs.count, batch.step + 1
        on_step(done, steps)
        if done < steps and updates.opens(done) and stop(done):
            break
    sums, counts = tuple(all_gather_objects(float(total))), all_reduce_sum(counts)
    loss = sum(sums) / max(loader.count, 1)
    if not math.isfinite(loss):
        raise WorkError(f"epoch {epoch + 1}", f"the training loss is {loss}", "Lower training.learning_rate")
    seconds = time.perf_counter() - began
    loss = loss if done == steps else math.nan
    return EpochResult(
        loss, seconds, clock.seconds / seconds, patches, local_patches, steps, done, sums, tuple(counts.tolist())
    )


def seed_step(seed: int, epoch: int, step: int, rank: int) -> None:
    """Seed dropout by (seed, epoch, step, rank), so that a resumed training repeats it."""
    torch.manual_seed(int(np.random.SeedSequence([seed, epoch, step, rank]).generate_state(1)[0]))


class _WaitClock:
    """Measures the time that a loop waits for its next item."""

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
