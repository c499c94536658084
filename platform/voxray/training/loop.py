"""The training loop: epochs, validation, checkpoints and early stopping. Independent of Ray."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
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
from voxray.training.inputs import Preprocessing
from voxray.training.schedule import learning_rate
from voxray.training.step import EpochResult, TrainingTask, Updates, train_epoch

STOP_CHECK_STEPS, STOP_CHECK_S = 4, 2.0  # intervals between checks, with several ranks


@dataclass(frozen=True)
class Watcher:
    """Callbacks of the loop; only those of rank 0 are called.

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
        On the device of `preprocessing`.
    train_loader, val_loader : PatchLoader
    spec : TrainingSpec
    preprocessing : Preprocessing
    task : TrainingTask
    folder : AnyPath
        For the last and the best checkpoint. A last one of the same `key` is resumed.
    key : str
        Digest of everything that the training depends on.
    watcher : Watcher, optional
        Used on rank 0.
    report : callable
        Receives the history row of each epoch, on every rank.
    stop : callable
        Whether to stop early. All ranks call it at the same steps, every few seconds.

    Returns
    -------
    Progress
        With the history.

    Raises
    ------
    Interrupted
        `stop` returned True. The checkpoint holds the step, and the same call resumes from it.
    """
    rank, _ = rank_and_world_size()
    watcher = watcher if watcher is not None and rank == 0 else Watcher()
    optimizer = build_optimizer(model, spec)
    average = build_average(model, optimizer, spec)
    progress = load_checkpoint(folder, model, optimizer, average, key)
    kept = model if average is None else average.module
    parallel = _parallel(model)
    save = partial(_save, folder, model, optimizer, average)
    request = _StopRequest(stop, preprocessing.device)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False
    while progress.epoch < spec.epochs and not stops_early(progress.history, spec):
        result = train_epoch(
            parallel,
            train_loader,
            optimizer,
            preprocessing,
            task,
            progress,
            Updates(partial(learning_rate, spec), spec.accumulate_steps, spec.gradient_clip_norm),
            on_step=partial(watcher.on_step, progress.epoch + 1),
            stop=request,
        )
        for network in (model, kept):
            sync_batchnorm_stats(network, result.local_patches)
        if result.done < result.steps:
            unfinished = replace(progress, step=result.done, loss_sums=result.loss_sums, counts=result.counts)
            save(unfinished, best=False)
            raise Interrupted
        metrics = task.train_metrics(result.counts) | task.validate(kept, val_loader, preprocessing)
        row = _history_row(progress.epoch, result, metrics, spec)
        progress, improved = _advance(progress, row, spec)
        save(progress, best=improved)
        watcher.on_epoch(row)
        report(row)
    if rank == 0:
        load_model(folder / BEST_CHECKPOINT, model)
    return progress


def build_optimizer(model: nn.Module, spec: TrainingSpec) -> torch.optim.Optimizer:
    """The optimizer of a spec. Weight decay acts on weights, not on biases; with `adamw` it is decoupled."""
    weights = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": weights, "weight_decay": spec.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if spec.optimizer == "sgd":
        return torch.optim.SGD(groups, lr=spec.learning_rate, momentum=spec.momentum, nesterov=spec.momentum > 0)
    kind = torch.optim.AdamW if spec.optimizer == "adamw" else torch.optim.Adam
    return kind(groups, lr=spec.learning_rate)


def build_average(model: nn.Module, optimizer: torch.optim.Optimizer, spec: TrainingSpec) -> AveragedModel | None:
    """The exponential moving average of the weights, updated after each optimizer step; None without `ema_decay`."""
    if not spec.ema_decay:
        return None
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(spec.ema_decay), use_buffers=True)
    optimizer.register_step_post_hook(lambda *_: average.update_parameters(model))
    return average


def choose_device(setting: str) -> torch.device:
    """The device of `training.device`; ``auto`` is a GPU if there is one."""
    if setting not in ("auto", "cpu", "cuda"):
        raise ConfigError("device", f"expected 'auto', 'cpu' or 'cuda', got '{setting}'", "Correct it")
    if setting == "cuda" and not torch.cuda.is_available():
        raise ConfigError("training.device", "got 'cuda', but this machine has no GPU", "Set it to 'auto' or 'cpu'")
    return torch.device("cuda" if setting == "cuda" or (setting == "auto" and torch.cuda.is_available()) else "cpu")


class _StopRequest:
    """Whether any rank is to stop, checked on all ranks at the same steps and rarely enough to cost nothing."""

    def __init__(self, stop: Callable[[], bool], device: torch.device) -> None:
        self.stop, self.device = stop, device
        self.last = time.monotonic()

    def __call__(self, step: int) -> bool:
        _, ranks = rank_and_world_size()
        if ranks > 1 and step % STOP_CHECK_STEPS:
            return False
        if not any_rank(time.monotonic() - self.last >= STOP_CHECK_S, self.device):
            return False
        self.last = time.monotonic()
        return any_rank(self.stop(), self.device)


def _parallel(model: nn.Module) -> nn.Module:
    if rank_and_world_size()[1] == 1:
        return model
    # Buffers are constants of the architecture, or statistics that are synchronized after each epoch.
    return nn.parallel.DistributedDataParallel(model, broadcast_buffers=False)


def _save(
    folder: AnyPath,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    average: AveragedModel | None,
    progress: Progress,
    *,
    best: bool,
) -> None:
    """Write the last checkpoint, and the best one if the last epoch is the best so far; on rank 0 only."""
    if rank_and_world_size()[0]:
        return
    if best:
        kept = model if average is None else average.module
        save_model(folder / BEST_CHECKPOINT, kept, {"epoch": progress.epoch, "key": progress.key})
    save_checkpoint(folder / LAST_CHECKPOINT, model, optimizer, average, progress)


def _history_row(epoch: int, result: EpochResult, metrics: dict[str, float], spec: TrainingSpec) -> dict[str, Any]:
    return {
        "epoch": epoch + 1,
        "learning_rate": learning_rate(spec, epoch, math.ceil(result.steps / spec.accumulate_steps)),
        "train_loss": result.loss,
        **metrics,
        "seconds": result.seconds,
        "data_wait_share": result.wait_share,
        "patches_per_s": result.patches / result.seconds,
    }


def _advance(progress: Progress, row: dict[str, Any], spec: TrainingSpec) -> tuple[Progress, bool]:
    """Progress after one more epoch, and whether that epoch is the best so far."""
    value = row[f"val_{spec.monitor}"]
    improved = _is_better(spec.monitor, value, progress.best_value)
    history = [*progress.history, row]
    progress = replace(progress, epoch=row["epoch"], step=0, loss_sums=(), counts=(), history=history)
    return (replace(progress, best_value=value, best_epoch=row["epoch"]) if improved else progress), improved


def _is_better(metric: str, value: float, best: float | None) -> bool:
    sign = find_metric(metric).sign
    return best is None or not math.isfinite(best) or (math.isfinite(value) and sign * value > sign * best)


def stops_early(history: Sequence[Mapping[str, Any]], spec: TrainingSpec) -> bool:
    """Whether the early stopping monitor has not improved for `early_stopping_epochs` epochs; NaN is no improvement."""
    if not spec.early_stopping_epochs:
        return False
    metric = spec.stopping_monitor
    best, best_epoch = None, 0
    for row in history:
        value = row[f"val_{metric}"]
        if math.isfinite(value) and _is_better(metric, value, best):
            best, best_epoch = value, row["epoch"]
    return len(history) - best_epoch >= spec.early_stopping_epochs
