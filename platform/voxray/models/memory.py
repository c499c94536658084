"""The memory of a training step, followed operation by operation as PyTorch allocates and frees it."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from voxray.models.operations import Operation, Operations

# Up to this size glibc's malloc takes a block from a heap that doesn't shrink, once such blocks have been freed; above
# it, from the kernel and back (mallopt(3): M_MMAP_THRESHOLD grows up to DEFAULT_MMAP_THRESHOLD_MAX).
LARGEST_ON_HEAP = 32 * 2**20
# What such a heap takes over what it holds, because new blocks don't fit where old ones were: for the shipped
# architectures it was 1.05 to 1.6 (benchmarks/cost.py).
HOLES = 1.25


@dataclass
class Meter:
    """Bytes in use, now and at most, in blocks that a heap holds and in larger ones.

    Attributes
    ----------
    largest_on_heap : int
    heap, other : int
        Now.
    heap_peak, other_peak, peak : int
        At most: each by itself, and both together at one time.
    """

    largest_on_heap: int
    heap: int = 0
    other: int = 0
    heap_peak: int = 0
    other_peak: int = 0
    peak: int = 0

    def take(self, size: int) -> None:
        """Allocate a block."""
        if size <= self.largest_on_heap:
            self.heap += size
            if self.heap > self.heap_peak:
                self.heap_peak = self.heap
        else:
            self.other += size
            if self.other > self.other_peak:
                self.other_peak = self.other
        if self.heap + self.other > self.peak:
            self.peak = self.heap + self.other

    def give(self, size: int) -> None:
        """Free a block."""
        if size <= self.largest_on_heap:
            self.heap -= size
        else:
            self.other -= size

    def touch(self, size: int) -> None:
        """Use a block for a moment."""
        if size:
            self.take(size)
            self.give(size)


@dataclass(frozen=True)
class StepMemory:
    """Bytes of a training step, without weights and what the optimiser keeps.

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
        Bytes that the optimiser needs for a moment.
    """
    forward, loss = network.all[: len(network.all) - losses], network.all[len(network.all) - losses :]
    meter, sizes, users = Meter(0 if network.gpu else LARGEST_ON_HEAP), network.sizes, _count_users(network)
    earlier = [sizes[value.storage] for operation in loss for value in operation.inputs]
    gradients = [operation.weights for operation in forward]
    for size in (sizes[network.image.storage], *earlier, *gradients):
        meter.take(size)
    _play_forward(meter, forward, sizes, users)
    for size in earlier:
        meter.give(size)
    activations = meter.heap + meter.other - sizes[network.image.storage] - sum(gradients)
    _play_forward(meter, loss, sizes, users)
    for size in gradients:
        meter.give(size)
    _play_backward(meter, network, users)
    meter.touch(stepping)
    held = round(HOLES * meter.heap_peak) + meter.other_peak - meter.peak
    return StepMemory(meter.peak, held, activations)


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


def _play_forward(meter: Meter, operations: Sequence[Operation], sizes: Sequence[int], users: list[int]) -> None:
    for inputs, result, _, extra, before, _, _, _ in operations:
        if result.storage != inputs[0].storage:
            meter.take(sizes[result.storage])
        meter.touch(before)
        meter.take(extra)
        _release(meter, [value.storage for value in inputs], sizes, users)


def _play_backward(meter: Meter, network: Operations, users: list[int]) -> None:
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
                made.append((value.number, _take(meter, value.numbers * value.width * network.batch_size)))
        meter.touch(after + weights)
        meter.take(weights)
        _give(meter, gradient)
        meter.give(extra)
        _release(meter, kept, network.sizes, users)
        for number, own in made:
            if earlier := gradients.get(number):
                # What is used twice has the sum of two gradients.
                total = _take(meter, own[0])
                _give(meter, earlier)
                _give(meter, own)
                gradients[number] = total
            else:
                gradients[number] = own


def _take(meter: Meter, size: int) -> list[int]:
    meter.take(size)
    return [size, 1]


def _give(meter: Meter, gradient: list[int]) -> None:
    gradient[1] -= 1
    if not gradient[1]:
        meter.give(gradient[0])


def _release(meter: Meter, storages: Iterable[int], sizes: Sequence[int], users: list[int]) -> None:
    for storage in storages:
        users[storage] -= 1
        if not users[storage]:
            meter.give(sizes[storage])
