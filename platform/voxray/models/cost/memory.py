"""The memory of a training step, followed operation by operation as PyTorch allocates and frees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxray.models.cost.operations import Operation, Operations

# Up to this size glibc's malloc takes a block from a heap that doesn't shrink, once such blocks have been freed; above
# it, from the kernel and back (mallopt(3): M_MMAP_THRESHOLD grows up to DEFAULT_MMAP_THRESHOLD_MAX).
LARGEST_ON_HEAP = 32 * 2**20
# What such a heap takes over what it holds, because new blocks don't fit where old ones were: for the shipped
# architectures it was 1.05 to 1.6 (benchmarks/cost.py).
HOLES = 1.25


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step, without weights and what the optimizer keeps.

    Attributes
    ----------
    peak : int
        What PyTorch has asked for and not given back, when that is most.
    held : int
        What a C library's heap takes beyond that: freed memory that the system doesn't get back.
    activations : int
        Kept of the batch when the forward pass has ended.
    """

    peak: int
    held: int
    activations: int


def follow_step(network: Operations, losses: int, stepping: int) -> StepMemory:
    """Follow a step as `training.step` does it, one after others.

    The logits of the step before are there until the forward pass has ended, its gradients until the loss is known.

    Parameters
    ----------
    network : Operations
        The last of which are losses.
    losses : int
        How many.
    stepping : int
        Bytes that the optimizer needs for a moment.
    """
    forward, loss = network.all[: len(network.all) - losses], network.all[len(network.all) - losses :]
    sizes, users = network.sizes, _count_users(network)
    earlier = [sizes[value.storage] for operation in loss for value in operation.inputs]
    gradients = [operation.weights for operation in forward]
    blocks = [*earlier, *gradients]
    _play_forward(blocks, forward, sizes, users)
    blocks += [-size for size in earlier]
    activations = sum(blocks) - sum(gradients)
    _play_forward(blocks, loss, sizes, users)
    blocks += [-size for size in gradients]
    _play_backward(blocks, network, users)
    blocks += [stepping, -stepping]
    return _measure(blocks, sizes[network.image.storage], activations, on_gpu=network.gpu)


def _measure(blocks: Sequence[int], image: int, activations: int, *, on_gpu: bool) -> StepMemory:
    """What is in use at most of blocks that are taken and, with a negative size, given back."""
    sizes = np.array([image, *blocks])
    peak = int(sizes.cumsum().max())
    if on_gpu:
        return StepMemory(peak, 0, activations)
    on_heap = np.where(np.abs(sizes) <= LARGEST_ON_HEAP, sizes, 0)
    heap, other = int(on_heap.cumsum().max()), int((sizes - on_heap).cumsum().max())
    return StepMemory(peak, round(HOLES * heap) + other - peak, activations)


def _count_users(network: Operations) -> list[int]:
    """How many operations want each storage, forward and backward; the input stays."""
    users = [0] * len(network.sizes)
    users[network.image.storage] = 1
    for operation in network.all:
        for value in operation.inputs:
            users[value.storage] += 1
        for storage in operation.kept:
            users[storage] += 1
    return users


def _play_forward(blocks: list[int], operations: Sequence[Operation], sizes: Sequence[int], users: list[int]) -> None:
    for inputs, result, _, extra, before, _, _, _ in operations:
        if result.storage != inputs[0].storage:
            blocks.append(sizes[result.storage])
        blocks += (before, -before, extra)
        for value in inputs:
            users[value.storage] -= 1
            if not users[value.storage]:
                blocks.append(-sizes[value.storage])


def _play_backward(blocks: list[int], network: Operations, users: list[int]) -> None:
    """From the last operation to the first; a gradient is its size and the number of those who want it."""
    gradients: dict[int, list[int]] = {}
    for inputs, result, kept, extra, _, after, weights, passes in reversed(network.all):
        if not result.learns:
            continue
        gradient = gradients.pop(result.number, [0, 1])
        made = []
        for value in inputs:
            if value.learns and passes:
                gradient[1] += 1
                made.append((value.number, gradient))
            elif value.learns:
                size = value.numbers * value.width * network.batch_size
                blocks.append(size)
                made.append((value.number, [size, 1]))
        moment = after + weights
        blocks += (moment, -moment, weights)
        _give(blocks, gradient)
        blocks.append(-extra)
        for storage in kept:
            users[storage] -= 1
            if not users[storage]:
                blocks.append(-network.sizes[storage])
        for number, own in made:
            if earlier := gradients.get(number):
                # What is used twice has the sum of two gradients.
                blocks.append(own[0])
                _give(blocks, earlier)
                _give(blocks, own)
                own = [own[0], 1]
            gradients[number] = own


def _give(blocks: list[int], gradient: list[int]) -> None:
    gradient[1] -= 1
    if not gradient[1]:
        blocks.append(-gradient[0])
