"""Architecture files."""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import FIFO, Case, damage, odd_tree

from voxray.config.training import TrainingSpec
from voxray.models.build import build_model
from voxray.models.cost.estimate import estimate_cost
from voxray.models.shapes import infer_shapes
from voxray.models.spec.load import Architecture, load_architecture
from voxray.models.spec.sequential import Sequential

INPUT, CLASSES = (1, 32, 32, 8), 3
BUILT_BELOW = 10**6  # parameters: larger networks are estimated only
LAYERS: list[Any] = [
    {"type": "C", "activation": "relu", "num_output": 4, "kernel_size": [3, 3, 3], "stride": [1, 1, 1], "drop_out": 5},
    {"type": "N", "normalization": "batch", "activation": "relu"},
    {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]},
    {
        "type": "R",
        "activation": "relu",
        "layers": [
            {
                "type": "C",
                "activation": None,
                "num_output": 4,
                "kernel_size": [3, 3, 3],
                "stride": [1, 1, 1],
                "padding": "same",
            },
        ],
    },
    {"type": "D", "dropout": 0.2},
    {"type": "FC", "activation": "relu", "num_output": 8, "drop_out": 10},
    {"type": "T", "activation": None},
]
UNET: dict[str, Any] = {
    "type": "unet",
    "dimensions": 3,
    "down": [[4, 4], [8], [8]],
    "up": [[8], [4]],
    "kernel_size": [3, 3, 3],
    "pool": [[2, 2, 1], [2, 2, 2]],
    "normalization": "instance",
    "residual": True,
    "dropout": 0.1,
    "output": {"activation": "softmax"},
}


def cases(seed: int) -> Iterator[Case]:
    """Named ones, random bytes and random values."""
    for content in (LAYERS, UNET):
        yield replace(_case("nothing wrong", json.dumps(content).encode()), sound=True)
    if seed == 0:
        yield from _named()
    rng = np.random.default_rng(seed)
    for number in range(40):
        content = LAYERS if number % 2 else UNET
        yield _case(f"damaged bytes {number}", damage(json.dumps(content).encode(), rng))
        yield _case(f"odd value {number}", json.dumps(odd_tree(content, rng)).encode())


def _named() -> Iterator[Case]:
    for name, text in {
        "lists nested 5,000 deep": "[" * 5000 + "]" * 5000,
        "lists nested 500 deep": "[" * 500 + "]" * 500,
        "objects nested 5,000 deep": '{"a":' * 5000 + "1" + "}" * 5000,
        "a key twice": json.dumps(UNET).replace('"residual": true', '"residual": true, "residual": false'),
        "a number that is none": json.dumps(UNET).replace("0.1", "NaN"),
        "an infinite number": json.dumps(UNET).replace("0.1", "1e999"),
        "a lone surrogate": json.dumps(UNET).replace('"softmax"', '"\\ud800"'),
        "a number of 5,000 digits": json.dumps(UNET).replace("0.1", "9" * 5000),
        "an empty file": "",
        "a text": '"C"',
    }.items():
        yield Case(name, {"net.json": text.encode()}, _load)
    yield Case("a FIFO", {"net.json": FIFO}, _load)
    for key, value in {"drop_out": "8", "num_output": "4", "num_output ": 4.0, "kernel_size": ["3", 3, 3]}.items():
        yield _refused(LAYERS, [0, key.strip()], value)
    for value in (True, 1.0, "1", [1]):
        yield _refused(LAYERS, [5, "num_output"], value)
        yield _refused(UNET, ["down", 0, 0], value)
    yield _refused(UNET, ["dropout"], "0.1")
    yield _refused(UNET, ["dimensions"], "3")
    yield _refused(UNET, ["residual"], 1)
    for number in (10**10, 10**13, 2**62):
        yield _refused(LAYERS, [5, "num_output"], number, build=True)
        yield _refused(UNET, ["down", 0, 1], number, build=True)
    yield _refused(UNET, ["kernel_size"], [10**6 + 1] * 3, build=True)
    yield _refused(LAYERS, [0, "kernel_size"], [10**6 + 1] * 3, build=True)


def _refused(content: Any, place: Sequence[Any], value: Any, *, build: bool = False) -> Case:
    content = json.loads(json.dumps(content))
    parent = content
    for part in place[:-1]:
        parent = parent[part]
    parent[place[-1]] = value
    use = _build if build else _load
    return Case(f"{place} = {value!r}", {"net.json": json.dumps(content).encode()}, use)


def _case(name: str, content: bytes) -> Case:
    return Case(name, {"net.json": content}, _load, _check(content))


def _build(folder: Path) -> Any:
    return build_model(_load(folder), INPUT, CLASSES, 0)


def _load(folder: Path) -> Architecture:
    architecture = load_architecture(folder / "net.json")
    cost = estimate_cost(architecture, INPUT, CLASSES, TrainingSpec(), "net.json")
    parameters = sum(line.parameters for line in infer_shapes(architecture, INPUT, CLASSES, "net.json"))
    assert cost.parameters == parameters
    assert cost.peak_bytes > 0
    if parameters < BUILT_BELOW:
        model = build_model(architecture, INPUT, CLASSES, 0)
        assert sum(tensor.numel() for tensor in model.parameters()) == parameters
    return architecture


def _check(content: bytes) -> Callable[[Architecture], None]:
    def check(architecture: Architecture) -> None:
        written = json.loads(content)
        if isinstance(architecture, Sequential):
            assert len(architecture.layers) == len(written)
            for layer, entry in zip(architecture.layers, written, strict=True):
                _check_equal(layer, entry)
        else:
            _check_equal(architecture, written)

    return check


def _check_equal(spec: Any, written: dict[str, Any]) -> None:
    for key, value in written.items():
        found = getattr(spec, key)
        if key == "layers":
            for layer, entry in zip(found, value, strict=True):
                _check_equal(layer, entry)
        elif isinstance(value, dict):
            _check_equal(found, value)
        else:
            assert _same(found, value), (key, value, found)


def _same(found: Any, written: Any) -> bool:
    """Whether a value is what was written, and not only what can be made of it."""
    if isinstance(written, list):
        return len(found) == len(written) and all(map(_same, found, written))
    if isinstance(written, float):
        return bool(math.isclose(found, written))
    return type(found) in (type(written), float) and found == written
