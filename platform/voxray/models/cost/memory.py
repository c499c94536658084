"""The memory of a training step, simulated operation by operation as PyTorch allocates and frees it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxray.errors import ConfigError
from voxray.models.cost.operations import Operation, Operations

# Up to this size glibc's malloc takes a block from a heap that doesn't shrink, once such blocks have been freed; above
# it, from the kernel and back (mallopt(3): M_MMAP_THRESHOLD grows up to DEFAULT_MMAP_THRESHOLD_MAX).
LARGEST_ON_HEAP = 32 * 2**20
# Size of such a heap over its content at most. Aligned blocks leave slivers, which small objects occupy, so that a
# block doesn't fit where another one of its size was. For drawn networks the heap was 1.1 to 2.3 times its content,
# and grew during the first steps (benchmarks/cost.py).
HOLES = 2.4
# Buffers and compiled kernels of oneDNN and BLAS, which the first step allocates.
LIBRARIES = 16 * 2**20


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step, without weights and the state of the optimizer.

    Attributes
    ----------
    peak : int
        The most that PyTorch has allocated at a time.
    held : int
        What libraries take beyond that at most: mainly freed memory that a C library's heap doesn't return to the
        system.
    activations : int
        Kept of the batch at the end of the forward pass.
    """

    peak: int
    held: int
    activations: int


def follow_step(network: Operations, losses: int, stepping: int, *, accumulates: bool = False) -> StepMemory:
    """Simulate a step of `training.step` that follows others.

    The logits of the previous step exist until the forward pass has ended, its gradients until the loss is computed.

    Parameters
    ----------
    network : Operations
        The last operations are losses.
    losses : int
        Number of losses.
    stepping : int
        Bytes that the optimizer needs temporarily.
    accumulates : bool
        Whether gradients are added to those of the previous step, which then stay.
    """
    split = len(network.all) - losses
    forward, loss = network.all[:split], network.all[split:]
    sizes, users = network.sizes, _count_users(network)
    logits = [sizes[value.storage] for operation in loss for value in operation.inputs]
    gradients = [operation.weights for operation in forward]
    blocks = [*logits, *gradients]
    _run_forward(blocks, forward, sizes, users)
    blocks += [-size for size in logits]
    activations = sum(blocks) - sum(gradients)
    _run_forward(blocks, loss, sizes, users)
    if not accumulates:
        blocks += [-size for size in gradients]
    _run_backward(blocks, network, users, accumulates=accumulates)
    blocks += [stepping, -stepping]
    return _measure([sizes[network.image.storage], *blocks], activations, on_gpu=network.gpu)


def _measure(blocks: Sequence[int], activations: int, *, on_gpu: bool) -> StepMemory:
    """The peak of blocks that are allocated and, with a negative size, freed."""
    if sum(map(abs, blocks)) >= 2**63:
        raise ConfigError("architecture", "a training step takes more bytes than 64 bits can count", "Make it smaller")
    sizes = np.array(blocks, dtype=np.int64)
    peak = int(sizes.cumsum().max())
    if on_gpu:
        return StepMemory(peak, 0, activations)
    on_heap = np.where(np.abs(sizes) <= LARGEST_ON_HEAP, sizes, 0)
    heap, other = int(on_heap.cumsum().max()), int((sizes - on_heap).cumsum().max())
    return StepMemory(peak, round(HOLES * heap) + other - peak + LIBRARIES, activations)


def _count_users(network: Operations) -> list[int]:
    """How many operations need each storage, forward and backward; the input stays."""
    users = [0] * len(network.sizes)
    users[network.image.storage] = 1
    for operation in network.all:
        for value in operation.inputs:
            users[value.storage] += 1
        for storage in operation.kept:
            users[storage] += 1
    return users


def _run_forward(blocks: list[int], operations: Sequence[Operation], sizes: Sequence[int], users: list[int]) -> None:
    for inputs, result, _, extra, before, _, _, _ in operations:
        if result.storage != inputs[0].storage:
            blocks.append(sizes[result.storage])
        if before or extra:
            blocks += (before, -before, extra)
        for value in inputs:
            users[value.storage] -= 1
            if not users[value.storage]:
                blocks.append(-sizes[value.storage])


def _run_backward(blocks: list[int], network: Operations, users: list[int], *, accumulates: bool) -> None:
    """From the last operation to the first; a gradient is its size and the number of operations that need it."""
    gradients: dict[int, list[int]] = {}
    for operation in reversed(network.all):
        _, result, kept, extra, _, after, weights, _ = operation
        if not result.learns:
            continue
        gradient = gradients.pop(result.number, [0, 1])
        computed = _input_gradients(blocks, operation, gradient, network.batch_size)
        if moment := after + weights:
            blocks += (moment, -moment, 0 if accumulates else weights)
        _release(blocks, gradient)
        if extra:
            blocks.append(-extra)
        for storage in kept:
            users[storage] -= 1
            if not users[storage]:
                blocks.append(-network.sizes[storage])
        for number, addend in computed:
            if earlier := gradients.get(number):
                # A value that is used twice has the sum of two gradients.
                blocks.append(addend[0])
                _release(blocks, earlier)
                _release(blocks, addend)
                addend = [addend[0], 1]
            gradients[number] = addend


def _input_gradients(
    blocks: list[int], operation: Operation, gradient: list[int], batch_size: int
) -> list[tuple[int, list[int]]]:
    """The gradients of an operation's inputs, each with the number of its value."""
    computed = []
    for value in operation.inputs:
        if value.learns and operation.passes:
            gradient[1] += 1
            computed.append((value.number, gradient))
        elif value.learns:
            size = value.numbers * value.width * batch_size
            blocks.append(size)
            computed.append((value.number, [size, 1]))
    return computed


def _release(blocks: list[int], gradient: list[int]) -> None:
    gradient[1] -= 1
    if not gradient[1]:
        blocks.append(-gradient[0])
