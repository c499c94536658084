"""Space files."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from fuzzing import FIFO, Case, damage, odd_tree

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.models.spec.load import parse_architecture
from voxray.search.constraints import Conditions, draw, estimate
from voxray.search.space.distributions import Distribution, Label
from voxray.search.space.load import load_space
from voxray.search.space.sampling import Space

SPACE: dict[str, Any] = {
    "let": {
        "width": {"choice": [4, 8]},
        "depth": {"int": [1, 3]},
        "kernel": {"choice": [[3, 3, 3], [5, 5, 1]]},
        "kind": {"choice": ["max", "avg"]},
    },
    "architecture": [
        {
            "name": "block",
            "repeat": "$depth",
            "of": [
                {
                    "type": "C",
                    "activation": "relu",
                    "num_output": {"times": ["$width", 2], "at_most": 12},
                    "kernel_size": "$kernel",
                    "stride": [1, 1, 1],
                },
                {
                    "type": "P",
                    "pool": {"$kind": {"max": "max", "else": "avg"}},
                    "kernel_size": [2, 2, 1],
                    "stride": [2, 2, 1],
                    "when": {"$index": 0},
                },
            ],
        },
        {"type": "FC", "activation": "relu", "num_output": {"int": [4, 8, 2]}, "when": {"$kind": "max"}},
        {"type": "T", "activation": None},
    ],
    "experiment": {"training.learning_rate": {"log_uniform": [1e-4, 1e-2]}, "training.weight_decay": 0.001},
}
CONDITIONS = Conditions((1, 32, 32, 8), 2, TrainingSpec())


def cases(seed: int) -> Iterator[Case]:
    """Named ones, random bytes and random values."""
    yield replace(_case("nothing wrong", json.dumps(SPACE).encode()), sound=True)
    if seed == 0:
        yield from _named()
    rng = np.random.default_rng(seed)
    for number in range(30):
        yield _case(f"damaged bytes {number}", damage(json.dumps(SPACE).encode(), rng))
        yield _case(f"odd value {number}", json.dumps(odd_tree(SPACE, rng)).encode())


def _named() -> Iterator[Case]:
    deep: Any = 1
    for _ in range(400):
        deep = {"of": [deep]}
    for name, text in {
        "lists nested 5,000 deep": f'{{"architecture": {"[" * 5000}{"]" * 5000}}}',
        "blocks nested 400 deep": json.dumps({"architecture": [deep]}),
        "a key twice": '{"architecture": [], "architecture": []}',
        "no object": "[]",
        "an index outside of a repeated block": json.dumps(SPACE).replace('{"$kind": "max"}}', '{"$index": 0}}'),
        "an empty file": "",
        "a definition of itself": json.dumps({**SPACE, "let": {**SPACE["let"], "width": "$width"}}),
        "a repeat of 10^9": json.dumps(SPACE).replace("[1, 3]", f"[{10**9}, {2**40}]"),
        "a repeat of an unbounded integer": json.dumps(SPACE).replace("[1, 3]", f"[1, {2**62}]"),
        "an integer without steps": json.dumps(SPACE).replace("[4, 8, 2]", "[4, 8, 0]"),
        "an infinite range": json.dumps(SPACE).replace("0.01]", "1e400]"),
        "a range of texts": json.dumps(SPACE).replace("0.01]", '"1"]'),
        "a flag for a number": json.dumps(SPACE).replace("[4, 8, 2]", "[true, 8, 2]"),
        "factors that overflow": json.dumps(SPACE).replace('2], "at_most": 12', f"{2**62}]"),
        "a text times a number": json.dumps(SPACE).replace('["$width", 2]', f'["x", {2**40}]'),
    }.items():
        yield Case(name, {"space.json": text.encode()}, _load)
    yield Case("a FIFO", {"space.json": FIFO}, _load)


def _case(name: str, content: bytes) -> Case:
    return Case(name, {"space.json": content}, _load, _check(content))


def _load(folder: Path) -> Space:
    space = load_space(folder / "space.json")
    # Every sample is a network, or is rejected for a reason.
    for seed in range(3):
        rng = np.random.default_rng(seed)
        try:
            sample = draw(space, CONDITIONS, lambda _, distribution, rng=rng: _draw(distribution, rng))
            estimate(sample, CONDITIONS)
        except ConfigError:
            continue
        parse_architecture(sample.architecture, "sample")
    return space


def _draw(distribution: Distribution, rng: np.random.Generator) -> Label:
    label = distribution.draw(rng.random())
    assert distribution.allows(label), label
    return label


def _check(content: bytes) -> Callable[[Space], None]:
    def check(space: Space) -> None:
        written = json.loads(content)
        assert set(written) <= {"let", "architecture", "experiment"}
        assert len(written["architecture"]) >= 1
        assert set(space.experiment) == set(written.get("experiment", {}))

    return check
