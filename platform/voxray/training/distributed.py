"""What ranks say to each other; with one process each function gives back what it got."""

from typing import Any

import torch
import torch.distributed as dist


def rank_and_world_size() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def all_gather_objects(mine: Any) -> list[Any]:
    """The objects of all ranks, in the order of ranks, on every rank."""
    _, ranks = rank_and_world_size()
    if ranks == 1:
        return [mine]
    everyone: list[Any] = [None] * ranks
    dist.all_gather_object(everyone, mine)
    return everyone


def any_rank(mine: bool, device: torch.device) -> bool:
    """Whether something holds on any rank; all must ask."""
    if rank_and_world_size()[1] == 1:
        return mine
    return bool(all_reduce_sum(torch.tensor(float(mine), device=device)))


def all_reduce_sum(values: torch.Tensor) -> torch.Tensor:
    """Sums of a tensor over all ranks, in place."""
    if rank_and_world_size()[1] > 1:
        dist.all_reduce(values)
    return values
