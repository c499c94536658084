"""What ranks say to each other; with one process each function gives back what it got."""

from typing import Any

import torch
import torch.distributed as dist


def rank_and_ranks() -> tuple[int, int]:
    """This process's rank and the number of ranks."""
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank(), dist.get_world_size()
    return 0, 1


def gather_objects(mine: Any) -> list[Any]:
    """The objects of all ranks, in the order of ranks, on every rank."""
    _, ranks = rank_and_ranks()
    if ranks == 1:
        return [mine]
    everyone: list[Any] = [None] * ranks
    dist.all_gather_object(everyone, mine)
    return everyone


def on_any_rank(mine: bool, device: torch.device) -> bool:
    """Whether something holds on any rank; all must ask."""
    if rank_and_ranks()[1] == 1:
        return mine
    return bool(add_over_ranks(torch.tensor(float(mine), device=device)))


def add_over_ranks(values: torch.Tensor) -> torch.Tensor:
    """Sums of a tensor over all ranks, in place."""
    if rank_and_ranks()[1] > 1:
        dist.all_reduce(values)
    return values
