"""The training loop. It reads like a table of contents, and knows nothing of Ray."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from voxray.config.training import TrainingSpec
from voxray.console.signals import Interrupted, never_stop
from voxray.errors import ConfigError
from voxray.loader.loader import PatchLoader
from voxray.metrics.registry import find_metric
from voxray.runs.folder import BEST_CHECKPOINT, LAST_CHECKPOINT
from voxray.storage.paths import AnyPath
from voxray.training.checkpoint import Progress, load_checkpoint, load_model, save_checkpoint, save_model
from voxray.training.distributed import any_rank, rank_and_world_size, sync_batchnorm_stats
from voxray.training.schedule import learning_rate
from voxray.training.step import Preprocessing, TrainingTask, train_epoch

ASK_STEPS, ASK_S = 4, 2.0  # at most so often, with several ranks


@dataclass(frozen=True)
class Watcher:
    """What the loop tells those who follow it; only rank 0's is called.

    Attributes
    ----------
    on_step : callable
        (epoch, step, steps) after each training step.
    on_epoch : callable
        (history row) after each epoch.
    """

    on_step: Callable[[int, int, int], None] = lambda epoch, step, steps: None
    on_epoch: Callable[[dict[str, Any]], None] = lambda row: None


def train(
    model: nn.Module,
    train_loader: PatchLoader,
    val_loader: PatchLoader,
    spec: TrainingSpec,
    preprocessing: Preprocessing,
    task: TrainingTask,
    folder: AnyPath,
    *,
    key: str,
    watcher: Watcher | None = None,
    report: Callable[[dict[str, Any]], None] = lambda row: None,
    stop: Callable[[], bool] = never_stop,
) -> Progress:
    """Fit a model; afterwards it holds the weights of the best epoch.

    Parameters
    ----------
    model : nn.Module
        On the recipe's device.
    train_feed, val_feed : Feed
    spec : TrainingSpec
    recipe : Recipe
    task : TrainingTask
    folder : Place
        For ``last`` and ``best`` checkpoints. A ``last`` one of the same `key` is continued.
    key : str
        Name of everything that the training depends on.
    watcher : Watcher, optional
        Followed on rank 0.
    report : callable
        Is given the history row of each epoch, on every rank.
    stop : callable
        Whether training is asked to end before its time. All ranks ask at the same steps, now and then.

    Returns
    -------
    Progress
        With the history.

    Raises
    ------
    Stopped
        It was asked to. The checkpoint knows the step, and the same call goes on from it.
    """
    rank, _ = rank_and_world_size()
    watcher = watcher if watcher is not None and rank == 0 else Watcher()
    optimizer = build_optimizer(model, spec)
    average = build_average(model, optimizer, spec)
    progress = load_checkpoint(folder / LAST_CHECKPOINT, model, optimizer, average, key)
    kept = model if average is None else average.module
    parallel = _parallel(model)
    asked = _StopRequest(stop, preprocessing.device)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    for epoch in range(progress.epoch, spec.epochs):
        if _is_over(progress, spec):
            break
        outcome = train_epoch(
            parallel,
            train_loader,
            optimizer,
            preprocessing,
            epoch,
            task,
            lambda at, steps: learning_rate(spec, at, steps),
            lambda step, steps, epoch=epoch: watcher.on_step(epoch + 1, step, steps),  # type: ignore[misc]
            first=progress.step,
            loss_sums=progress.loss_sums,
            stop=asked,
        )
        for each in (model, kept):
            sync_batchnorm_stats(each, outcome.own_patches)
        if outcome.done < outcome.steps:
            progress = replace(progress, step=outcome.done, loss_sums=outcome.loss_sums)
            if rank == 0:
                save_checkpoint(folder / LAST_CHECKPOINT, model, optimizer, average, progress)
            raise Interrupted
        row = {
            "epoch": epoch + 1,
            "learning_rate": learning_rate(spec, epoch, outcome.steps),
            "train_loss": outcome.loss,
            **task.validate(kept, val_loader, preprocessing),
            "seconds": outcome.seconds,
            "data_wait_share": outcome.wait_share,
            "patches_per_s": outcome.patches / outcome.seconds,
        }
        progress, improved = _advance(progress, row, spec)
        if rank == 0:
            if improved:
                save_model(folder / BEST_CHECKPOINT, kept, {"epoch": epoch + 1})
            save_checkpoint(folder / LAST_CHECKPOINT, model, optimizer, average, progress)
        watcher.on_epoch(row)
        report(row)
    if rank == 0:
        load_model(folder / BEST_CHECKPOINT, model)
    return progress


def build_optimizer(model: nn.Module, spec: TrainingSpec) -> torch.optim.Optimizer:
    """The optimizer of a spec. L2 acts on weights, not on biases; with `adamw` it is decoupled."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": spec.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=0.9, nesterov=True)
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=spec.learning_rate)


def build_average(model: nn.Module, optimizer: torch.optim.Optimizer, spec: TrainingSpec) -> AveragedModel | None:
    """The running mean of the weights, which follows each step of the optimizer; None where none is asked for."""
    if not spec.ema_decay:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(spec.ema_decay), use_buffers=True)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    return average


def choose_device(setting: str) -> torch.device:
    """``auto`` takes a GPU where there is one."""
    if setting == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device", "'cuda' is asked for and no GPU is here", "Set it to 'auto' or 'cpu'")
    return torch.device("cuda" if setting == "cuda" or (setting == "auto" and torch.cuda.is_available()) else "cpu")


class _StopRequest:
    """Whether any rank is asked to stop; so rarely that it costs nothing, and on all ranks at the same steps."""

    def __init__(self, stop: Callable[[], bool], device: torch.device) -> None:
        self.stop, self.device = stop, device
        self.last = time.monotonic()

    def __call__(self, step: int) -> bool:
        _, ranks = rank_and_world_size()
        if ranks > 1 and step % ASK_STEPS:
            return False
        if not any_rank(time.monotonic() - self.last >= ASK_S, self.device):
            return False
        self.last = time.monotonic()
        return any_rank(self.stop(), self.device)


def _parallel(model: nn.Module) -> nn.Module:
    if rank_and_world_size()[1] == 1:
        return model
    # Buffers are constants of the architecture, or statistics that are averaged after each epoch.
    return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)


def _advance(progress: Progress, row: dict[str, Any], spec: TrainingSpec) -> tuple[Progress, bool]:
    """Progress after one more epoch, and whether that epoch is the best so far."""
    value = row[f"val_{spec.monitor}"]
    improved = _is_better(spec.monitor, value, progress.best_value)
    history = [*progress.history, row]
    progress = replace(progress, epoch=row["epoch"], step=0, loss_sums=(), history=history)
    return (replace(progress, best_value=value, best_epoch=row["epoch"]) if improved else progress), improved


def _is_better(metric: str, value: float, best: float | None) -> bool:
    sign = find_metric(metric).sign
    return best is None or not math.isfinite(best) or (math.isfinite(value) and sign * value > sign * best)


def _is_over(progress: Progress, spec: TrainingSpec) -> bool:
    """Whether the early stopping monitor has not improved for `early_stopping_epochs` epochs."""
    if not spec.early_stopping_epochs:
        return False
    metric = spec.early_stopping_monitor or spec.monitor
    best, best_epoch = None, 0
    for row in progress.history:
        if _is_better(metric, row[f"val_{metric}"], best):
            best, best_epoch = row[f"val_{metric}"], row["epoch"]
    return progress.epoch - best_epoch >= spec.early_stopping_epochs
