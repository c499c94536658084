"""Running statistics of batch normalization where a batch is dealt to several ranks."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from voxray.training.distributed import all_reduce_sum


def sync_batchnorm_stats(model: nn.Module, seen: int) -> None:
    """Give all ranks the mean of their running statistics, so that they go on, and are judged, with the same ones.

    Parameters
    ----------
    model : nn.Module
    seen : int
        Patches of this rank since the last time, its weight in the mean: one that had none knows nothing.
    """
    device = next(model.parameters()).device
    share = seen / float(all_reduce_sum(torch.tensor(float(seen), device=device)))
    for norm in _batch_norms(model):
        for statistic in (norm.running_mean, norm.running_var):
            if statistic is not None:
                statistic.copy_(all_reduce_sum(statistic * share))


@contextmanager
def frozen_batchnorm_stats(model: nn.Module) -> Iterator[None]:
    """Let batches pass in training mode without a trace in the running statistics."""
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
