"""The operations of a network, and what each of them costs in a training step.

PyTorch's ``derivatives.yaml`` defines what an operation keeps for its backward pass. The temporary memory of kernels
was measured by ``torch.profiler`` with ``profile_memory=True``, on a CPU and with PyTorch 2.13.
"""

from collections.abc import Sequence
from typing import NamedTuple

FLOAT, HALF, INDEX = 4, 2, 8  # bytes of a number
FROM_RESULT = ("relu", "tanh", "sigmoid")  # their gradient needs the result, that of other activations the input
FEW = 16  # patches; for fewer, convolutions of size and stride 1 don't use oneDNN on a CPU


class Value(NamedTuple):
    """A tensor of the forward pass.

    Attributes
    ----------
    number : int
        Number of the operation that computes it; -1 for the network's input.
    storage : int
        Number of its memory; results of in-place operations share one.
    numbers, width : int
        Numbers for each patch, and bytes of each number.
    learns : bool
        Whether its gradient is computed; that of the input is not.
    """

    number: int
    storage: int
    numbers: int
    width: int
    learns: bool


class Operation(NamedTuple):
    """A step of the forward pass and its backward pass.

    Attributes
    ----------
    inputs : sequence of Value
    result : Value
    kept : sequence of int
        Storages that the backward pass needs.
    extra, before, after : int
        Bytes that it keeps in addition, and bytes that it needs temporarily in the forward and in the backward pass.
    weights : int
        Bytes of the gradients of its parameters.
    passes : bool
        Whether the gradient of the result is that of the inputs, without a copy.
    """

    inputs: Sequence[Value]
    result: Value
    kept: Sequence[int]
    extra: int
    before: int
    after: int
    weights: int
    passes: bool


class Operations:
    """The operations of a forward pass, in the order in which they run.

    Parameters
    ----------
    batch_size : int
    half : bool
        Convolutions and dense layers compute in bfloat16, under autocast.
    gpu : bool

    Attributes
    ----------
    all : list of Operation
    sizes : list of int
        Bytes of the storages.
    image : Value
        The input of the network.
    parameters, buffers, largest : int
        Trainable numbers, others, and numbers of the largest tensor of weights.
    forward_flops, backward_flops : int
        Of convolutions and dense layers for a patch; a multiplication and an addition are two.
    """

    def __init__(self, image: int, batch_size: int, half: bool, gpu: bool) -> None:
        self.batch_size, self.half, self.gpu = batch_size, half, gpu
        self.all: list[Operation] = []
        self.sizes = [image * FLOAT * batch_size]
        self.image = Value(-1, 0, image, FLOAT, False)
        self.parameters = self.buffers = self.largest = self.forward_flops = self.backward_flops = 0

    def convolve(
        self,
        maps: Value,
        count: int,
        positions: int,
        weights: int,
        bias: int,
        *,
        thin: bool = False,
        part: bool = False,
    ) -> Value:
        """A convolution, a transposed one, or a dense layer.

        Parameters
        ----------
        maps : Value
        count : int
            Numbers of the result for each patch.
        positions : int
            Number of times that the kernel is applied to a patch.
        weights, bias : int
            Numbers of the kernel and of the bias.
        thin : bool
            Whether it is a convolution of size and stride 1.
        part : bool
            Whether the result's gradient is a part of a larger one, so that it must be copied.
        """
        self.parameters += weights + bias
        self.largest = max(self.largest, weights)
        self.forward_flops += 2 * positions * weights
        self.backward_flops += 2 * positions * weights * (1 + maps.learns)
        width = HALF if self.half else FLOAT
        entering = self.cast(maps, width)
        given, taken = entering.numbers * width * self.batch_size, count * width * self.batch_size
        before = after = 0
        if self.gpu:
            after = weights * width
        elif self.half:
            # oneDNN's copies of input and output, in blocks of channels.
            before, after = max(given, taken), given + taken
        elif thin and self.batch_size < FEW:
            before, after = given, given
        elif positions > 1:
            # Kernels in blocks of channels.
            before, after = weights * width, 2 * weights * width
        return self._add(
            (entering,),
            count,
            width,
            kept=(entering.storage,),
            extra=weights * HALF if self.half else 0,
            before=before,
            after=after + taken * part,
            weights=(weights + bias) * FLOAT,
        )

    def normalize(self, maps: Value, channels: int, kind: str) -> Value:
        """Batch or instance normalization, with scale and shift."""
        self.parameters += 2 * channels
        # On a GPU autocast computes group normalization in float32.
        entering = self.cast(maps, FLOAT if self.gpu and kind == "instance" else maps.width)
        after = 0
        if kind == "batch":
            self.buffers += 2 * channels
            after = 0 if self.gpu else self.sizes[entering.storage]
        weights = 2 * channels * FLOAT
        return self._add(
            (entering,), maps.numbers, entering.width, kept=(entering.storage,), after=after, weights=weights
        )

    def activate(self, maps: Value, kind: str | None, *, in_place: bool = False) -> Value:
        """An activation; in place it uses the memory of its input."""
        if kind is None:
            return maps
        if in_place:
            return self._add((maps,), maps.numbers, maps.width, storage=maps.storage, kept=(maps.storage,))
        kept = (len(self.sizes) if kind in FROM_RESULT else maps.storage,)
        return self._add((maps,), maps.numbers, maps.width, kept=kept)

    def drop_out(self, maps: Value) -> Value:
        """Dropout keeps its mask: as numbers on a CPU, as bytes on a GPU."""
        mask = maps.numbers * (1 if self.gpu else maps.width) * self.batch_size
        return self._add((maps,), maps.numbers, maps.width, extra=mask)

    def pool(self, kind: str, maps: Value, count: int, spatial_dims: int) -> Value:
        """Pooling keeps its input, and max pooling the position of each maximum."""
        on_cpu = spatial_dims == 3 and not self.gpu
        # On a CPU autocast pools volumes in float32.
        entering = self.cast(maps, FLOAT if on_cpu else maps.width)
        kept, width = (entering.storage,), entering.width
        if kind == "max":
            return self._add((entering,), count, width, kept=kept, extra=count * INDEX * self.batch_size)
        # The CPU's kernel needs a copy in the order of channels.
        return self._add((entering,), count, width, kept=kept, before=self.sizes[entering.storage] if on_cpu else 0)

    def copy(self, maps: Value, count: int, *, part: bool = False) -> Value:
        """A result that keeps nothing: padded, scaled, upsampled or averaged maps; `part` is as above."""
        return self._add((maps,), count, maps.width, after=count * maps.width * self.batch_size * part)

    def flatten(self, maps: Value) -> Value:
        """Numbers in the order of channels: a copy where channels are last in memory."""
        storage = maps.storage if self.half and not self.gpu else None
        return self._add((maps,), maps.numbers, maps.width, storage=storage, passes=True)

    def cut(self, maps: Value, count: int) -> Value:
        """A part of the maps, in the same memory."""
        return self._add((maps,), count, maps.width, storage=maps.storage)

    def add(self, first: Value, second: Value) -> Value:
        """A sum; its gradient is that of both."""
        return self._add((first, second), first.numbers, max(first.width, second.width), passes=True)

    def join(self, first: Value, second: Value) -> Value:
        """A concatenation of channels; the gradients of both are parts of that of the result."""
        return self._add((first, second), first.numbers + second.numbers, max(first.width, second.width), passes=True)

    def cast(self, maps: Value, width: int) -> Value:
        """A copy with numbers of another width, or the value itself."""
        return maps if maps.width == width else self._add((maps,), maps.numbers, width)

    def lose(self, logits: Value, kept: int, before: int, after: int) -> Value:
        """A loss: bytes that it keeps, and bytes that it needs temporarily."""
        return self._add((logits,), 0, FLOAT, extra=kept, before=before, after=after)

    def hold(self, maps: Value) -> None:
        """A variable of the program keeps the maps until here."""
        nothing = Value(len(self.all), maps.storage, 0, maps.width, learns=False)
        self.all.append(Operation((maps,), nothing, (), 0, 0, 0, 0, passes=False))

    def _add(
        self,
        inputs: Sequence[Value],
        count: int,
        width: int,
        *,
        storage: int | None = None,
        kept: Sequence[int] = (),
        extra: int = 0,
        before: int = 0,
        after: int = 0,
        weights: int = 0,
        passes: bool = False,
    ) -> Value:
        """Add an operation; its result has new memory unless a storage is given."""
        if storage is None:
            storage = len(self.sizes)
            self.sizes.append(count * width * self.batch_size)
        learns = weights > 0 or inputs[0].learns or inputs[-1].learns
        if not learns:
            kept, extra = (), 0
        result = Value(len(self.all), storage, count, width, learns)
        self.all.append(Operation(inputs, result, kept, extra, before, after, weights, passes))
        return result
