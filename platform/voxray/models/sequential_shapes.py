"""Shapes and parameter counts of a sequential network from integers alone."""

import math
from collections.abc import Iterable, Iterator, Sequence
from operator import le
from typing import NamedTuple

from voxray.models.padding import sizes_after
from voxray.models.spec.layers import (
    Convolution,
    Dense,
    Dropout,
    GlobalAverage,
    Layer,
    Normalization,
    Output,
    Pooling,
    Residual,
)
from voxray.models.table import LayerShape

Shape = tuple[int, ...]


class Step(NamedTuple):
    """A layer at its place, and the shapes that enter and leave it: (channel, x, y[, z]) or (units,).

    Along an axis that shrinks to nothing the size is 0 from there on. A residual block has steps of its own: those of
    its layers and of its shortcut.
    """

    place: str
    layer: Layer
    entering: Shape
    leaving: Shape
    body: tuple["Step", ...] = ()
    shortcut: tuple["Step", ...] = ()


def walk_layers(layers: Sequence[Layer], shape: Shape, classes: int, place: str = "") -> Iterator[Step]:
    """Follow a shape through layers."""
    for number, layer in enumerate(layers):
        here = f"{place}[{number}]"
        if isinstance(layer, Residual):
            body = tuple(walk_layers(layer.layers, shape, classes, f"{here}.layers"))
            shortcut = tuple(walk_layers(layer.shortcut(shape[0]), shape, classes, f"{here}.shortcut"))
            step = Step(here, layer, shape, body[-1].leaving, body, shortcut)
        else:
            step = Step(here, layer, shape, shape_after(layer, shape, classes))
        yield step
        shape = step.leaving


def in_order(steps: Iterable[Step]) -> Iterator[Step]:
    """Steps in the order in which they run: of a residual block its layers, its shortcut, then the sum."""
    for step in steps:
        if step.body:
            yield from in_order(step.body)
            yield from in_order(step.shortcut)
        yield step


def shape_after(layer: Layer, shape: Shape, classes: int) -> Shape:
    """The shape that leaves a layer."""
    match layer:
        case Convolution():
            return layer.num_output, *sizes_after(layer.padding, shape[1:], layer.kernel_size, layer.stride)
        case Normalization() | Dropout():
            return shape
        case Pooling():
            return shape[0], *sizes_after(layer.padding, shape[1:], layer.kernel_size, layer.stride)
        case Residual():
            for inner in layer.layers:
                shape = shape_after(inner, shape, classes)
            return shape
        case GlobalAverage():
            return shape[:1]
        case Dense():
            return (layer.num_output,)
        case Output():
            return (classes,)


def step_line(step: Step) -> LayerShape:
    """A step as a line of the table."""
    return LayerShape(step.place, step.layer.type, _detail(step.layer), step.leaving, _parameters(step))


def step_problems(step: Step) -> list[str]:
    """Why a layer cannot do its work on what enters it."""
    layer, entering, leaving = step.layer, step.entering, step.leaving
    match layer:
        case Convolution() | Pooling():
            return _shrink_problems(step.place, layer, entering, leaving)
        case Normalization() if math.prod(entering[1:]) == 1:
            problem = f"{layer.normalization} normalization of a map of one voxel leaves nothing of it"
            return [f"{step.place}: {problem}; give a larger patch or smaller strides"]
        case Residual():
            return _sum_problems(step)
        case Output() if layer.activation == "sigmoid" and leaving != (2,):
            return [
                f"{step.place}.activation: 'sigmoid' tells two classes apart, there are {leaving[0]}; use 'softmax'"
            ]
    return []


def _parameters(step: Step) -> int:
    layer, entering = step.layer, step.entering
    match layer:
        case Convolution():
            return (math.prod(layer.kernel_size) * entering[0] + layer.bias) * layer.num_output
        case Normalization():
            return 2 * entering[0]
        case Dense():
            return (math.prod(entering) + 1) * layer.num_output
        case Output():
            return (math.prod(entering) + 1) * layer.units(step.leaving[0])
    return 0


def _detail(layer: Layer) -> str:
    words: list[str | None] = []
    match layer:
        case Convolution() | Pooling():
            pool = f"{layer.pool} " if isinstance(layer, Pooling) else ""
            words = [f"{pool}{_by(layer.kernel_size)} / {_by(layer.stride)}"]
            words += [layer.padding] if layer.padding != "same" else []
            words += ["no bias"] if isinstance(layer, Convolution) and not layer.bias else []
        case Normalization():
            words = [layer.normalization]
        case GlobalAverage():
            words = ["mean of each map"]
        case Residual():
            words = ["+ shortcut"]
        case Output():
            words = ["one logit" if layer.activation == "sigmoid" else "logits"]
    words.append(getattr(layer, "activation", None))
    drop = getattr(layer, "drop_out", 0)
    return ", ".join([*filter(None, words), *([f"drop {drop:g} %"] if drop else [])])


def _shrink_problems(place: str, layer: Convolution | Pooling, entering: Shape, leaving: Shape) -> list[str]:
    if 0 not in leaving and all(map(le, layer.stride, entering[1:])):
        return []
    problems = []
    axes = zip("xyz", entering[1:], layer.kernel_size, layer.stride, leaving[1:], strict=False)
    for axis, size, kernel, stride, left in axes:
        found = f"along {axis}, where {size} is left"
        if 0 < size < stride:
            problems.append(f"{place}.stride: the map shrinks to nothing: stride {stride} {found}")
        elif size and not left:
            problems.append(f"{place}.kernel_size: the map shrinks to nothing: 'valid' kernel {kernel} {found}")
    return problems


def _sum_problems(step: Step) -> list[str]:
    shortcut = step.shortcut[-1].leaving if step.shortcut else step.entering
    if shortcut == step.leaving or 0 in step.leaving:
        return []
    problem = f"they give {_by(step.leaving)}, its shortcut {_by(shortcut)}, which cannot be added"
    return [f"{step.place}.layers: {problem}; use the padding 'same' or 'centered' in them"]


def _by(sizes: Shape) -> str:
    return "x".join(map(str, sizes))
