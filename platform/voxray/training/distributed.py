"""Communication between ranks; with a single process each function returns its argument.

Running statistics of batch normalization are averaged over ranks here too, because each rank sees only its own part of
a batch.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import nn


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_gather_objects(local: Any) -> list[Any]:
    """The objects of all ranks, in the order of ranks, on every rank."""
    _, ranks = rank_and_world_size()
    if ranks == 1:
        return [local]
    gathered: list[Any] = [None] * ranks
    dist.all_gather_object(gathered, local)
    return gathered


def any_rank(condition: bool, device: torch.device) -> bool:
    """Whether a condition holds on any rank; every rank must call it."""
    if rank_and_world_size()[1] == 1:
        return condition
    return bool(all_reduce_sum(torch.tensor(float(condition), device=device)))


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """Sums of a tensor over all ranks, in place."""
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(values)
    return values


def sync_batchnorm_stats(model: nn.Module, seen: int) -> None:
    """Replace the running statistics of all ranks by their mean, so that training and validation use the same ones.

    Parameters
    ----------
    model : nn.Module
    seen : int
        Patches of this rank since the last call: its weight in the mean.
    """
    device = next(model.parameters()).device
    share = seen / float(all_reduce_sum(torch.tensor(float(seen), device=device)))
    for norm in _batch_norms(model):
        for statistic in (norm.running_mean, norm.running_var):
            if statistic is not None:
                statistic.copy_(all_reduce_sum(statistic * share))


@contextmanager
def frozen_batchnorm_stats(model: nn.Module) -> Iterator[None]:
    """Leave running statistics unchanged by batches that pass in training mode."""
    norms = list(_batch_norms(model))
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    yield
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def _batch_norms(model: nn.Module) -> Iterator[nn.BatchNorm2d | nn.BatchNorm3d]:
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d | nn.BatchNorm3d):
            yield module
