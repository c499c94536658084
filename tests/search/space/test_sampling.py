import json
import math
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.errors import ConfigError
from voxray.models.spec.load import load_architecture, parse_architecture
from voxray.search.space.distributions import Choice, Distribution, Int, Label, LogUniform
from voxray.search.space.inverse import canonical, find_point
from voxray.search.space.load import load_space, parse_space
from voxray.search.space.sampling import at_random, sample

T = {"type": "T", "activation": None}
SPACE = {
    "let": {"norm": {"choice": ["none", "batch"]}, "width": {"int": [4, 12, 4]}},
    "architecture": [
        {
            "name": "blocks",
            "repeat": {"int": [1, 3]},
            "let": {"kernel": {"choice": [3, [5, 5]]}},
            "of": [
                {
                    "type": "C",
                    "activation": {"$norm": {"none": "relu", "batch": None}},
                    "num_output": {"times": ["$width", {"$index": {"0": 1, "else": 2}}], "at_most": 16},
                    "kernel_size": "$kernel",
                    "stride": 1,
                },
                {"type": "N", "when": {"$norm": "batch"}, "normalization": "batch", "activation": "relu"},
            ],
        },
        {"type": "G", "when": {"choice": [False, True]}},
        T,
    ],
    "experiment": {"training.learning_rate": {"log_uniform": [1e-4, 1e-2]}, "training.schedule": "cosine"},
}
POINTS = [
    ("cnn2d", "archsm"),
    ("cnn2d", "arch"),
    ("cnn3d", "arch3dsm"),
    ("cnn3d", "arch3d"),
    ("cnn3d", "lidc_cnn3d"),
    ("resnet", "brats2020_resnet18"),
    ("unet", "brats_unet3d"),
    ("unet", "unet3d"),
    ("unet", "hippocampus_unet3d"),
]


def answers(decisions: dict[str, Label]) -> Any:
    """Suggests what is given, and first labels otherwise."""
    return lambda name, distribution: decisions.get(name, distribution.some_labels()[0])


def test_a_sample_is_what_its_decisions_say() -> None:
    space = parse_space(SPACE, "space.json")
    decisions = {"norm": "batch", "width": 12, "blocks": 2, "blocks[1].kernel": "[5, 5]", "[1].when": True}
    point = sample(space, 2, answers(decisions))
    norm = {"type": "N", "normalization": "batch", "activation": "relu"}
    first = {"type": "C", "activation": None, "num_output": 12, "kernel_size": [3, 3], "stride": [1, 1]}
    second = {**first, "num_output": 16, "kernel_size": [5, 5]}
    assert point.architecture == [first, norm, second, norm, {"type": "G"}, T]
    assert point.settings == {"training.learning_rate": 1e-4, "training.schedule": "cosine"}
    assert list(point.decisions) == [
        "blocks",
        "norm",
        "width",
        "blocks[0].kernel",
        "blocks[1].kernel",
        "[1].when",
        "training.learning_rate",
    ]


def test_only_decisions_that_have_a_say_are_asked_for_and_each_once() -> None:
    asked: Counter[str] = Counter()

    def suggest(name: str, distribution: Distribution) -> Label:
        asked[name] += 1
        return {"blocks": 3}.get(name, distribution.some_labels()[0])

    optional = {
        "when": {"$norm": "batch"},
        "let": {"drop": {"int": [1, 9]}},
        "of": [{"type": "D", "drop_out": "$drop"}],
    }
    raw = {**SPACE, "architecture": [{**optional, "name": "end"}, *SPACE["architecture"]]}
    sample(parse_space(raw, "space.json"), 2, suggest)
    assert set(asked.values()) == {1}
    assert asked.keys() >= {"blocks[2].kernel"}
    assert "end.drop" not in asked


def test_sizes_of_one_number_take_the_rank_of_the_input() -> None:
    layer = {
        "type": "C",
        "activation": None,
        "num_output": {"$spatial_dims": {"2": 8, "3": 4}},
        "kernel_size": 3,
        "stride": 1,
    }
    space = parse_space({"architecture": [layer, T]}, "space.json")
    assert space.spatial_dims == (2, 3)
    assert sample(space, 3, answers({})).architecture[0]["kernel_size"] == [3, 3, 3]
    assert sample(space, 3, answers({})).architecture[0]["num_output"] == 4
    flat = parse_space({"architecture": [{**layer, "kernel_size": [3, 3]}, T]}, "space.json")
    assert flat.spatial_dims == (2,)
    with pytest.raises(ConfigError, match="its networks take 2D inputs, the patches are 3D"):
        sample(flat, 3, answers({}))


def test_the_same_seed_gives_the_same_samples(project: Path) -> None:
    space = load_space(project / "configs" / "spaces" / "cnn3d.json")
    first, second = ([sample(space, 3, at_random(rng)) for _ in range(5)] for rng in map(np.random.default_rng, (4, 4)))
    assert first == second
    assert first != [sample(space, 3, at_random(np.random.default_rng(5))) for _ in range(5)]


@given(st.floats(0, 1, exclude_max=True))
def test_draws_are_allowed_labels_and_reach_all_of_them_alike(share: float) -> None:
    for distribution in (Choice((1, None, [2, 3], "a")), Int(3, 11, 4), LogUniform(1e-5, 1e3)):
        assert distribution.allows(distribution.draw(share))
    assert Int(3, 11, 4).draw(share) == (3, 7, 11)[int(3 * share)]
    assert math.log10(float(LogUniform(1e-5, 1e3).draw(share) or 0)) == pytest.approx(8 * share - 5)  # type: ignore[arg-type]


@pytest.mark.parametrize(("label", "allowed"), [(7, True), (8, False), (7.5, False), (True, False), ("7", False)])
def test_a_label_of_another_kind_is_not_allowed(label: Label, allowed: bool) -> None:
    assert Int(1, 9, 2).allows(label) is allowed
    assert Choice((7, "seven")).allows(label) is allowed


def test_the_same_decisions_give_the_same_sample_also_after_json() -> None:
    space = parse_space(SPACE, "space.json")
    rng = np.random.default_rng(1)
    for _ in range(20):
        point = sample(space, 2, at_random(rng))
        decisions = json.loads(json.dumps(point.decisions))
        assert sample(space, 2, lambda name, _, decisions=decisions: decisions[name]) == point


@pytest.mark.parametrize(("name", "network"), POINTS)
def test_shipped_networks_are_points_of_shipped_spaces(project: Path, name: str, network: str) -> None:
    space = load_space(project / "configs" / "spaces" / f"{name}.json")
    architecture = load_architecture(project / "configs" / "architectures" / f"{network}.json")
    given = {"training.learning_rate": 1e-3, "training.weight_decay": 0.7, "training.epochs": 3}
    decisions = find_point(space, architecture, given)
    assert decisions is not None
    assert decisions["training.learning_rate"] == 1e-3
    assert "training.weight_decay" not in decisions
    point = sample(space, architecture.spatial_dims or 2, answers(decisions))
    assert decisions.items() <= point.decisions.items()
    assert canonical(parse_architecture(point.architecture, network)) == canonical(architecture)


def test_random_samples_are_found_again() -> None:
    space = parse_space(SPACE, "space.json")
    rng = np.random.default_rng(2)
    for _ in range(20):
        point = sample(space, 2, at_random(rng))
        found = find_point(space, parse_architecture(point.architecture, "sample"), point.settings)
        # Decisions of no effect may differ: of one block, the limit hides the width.
        assert found is not None
        assert sample(space, 2, lambda name, _, found=found: found[name]).architecture == point.architecture


def test_a_network_outside_of_the_space_is_no_point(project: Path) -> None:
    space = load_space(project / "configs" / "spaces" / "cnn2d.json")
    layers = json.loads((project / "configs" / "architectures" / "archsm.json").read_text())
    layers[3]["num_output"] = 17
    assert find_point(space, parse_architecture(layers, "net.json")) is None
    flat = load_space(project / "configs" / "spaces" / "cnn3d.json")
    assert find_point(flat, load_architecture(project / "configs" / "architectures" / "archsm.json")) is None


def test_a_hand_made_network_of_seven_normalized_convolutions_is_in_the_2d_space(project: Path) -> None:
    def convolution(filters: int) -> list[dict[str, Any]]:
        sizes = {"kernel_size": [3, 3], "stride": [1, 1]}
        layer = {"type": "C", "activation": None, "num_output": filters, **sizes, "bias": False}
        return [layer, {"type": "N", "normalization": "batch", "activation": "relu"}]

    pool = {"type": "P", "pool": "max", "kernel_size": [2, 2], "stride": [2, 2]}
    filters = [[24, 24], [48, 48], [96, 96], [128]]
    layers = [layer for stage in filters for layer in [*(each for n in stage for each in convolution(n)), pool]]
    layers[-1:] = [{"type": "G"}, {"type": "D", "drop_out": 25}, T]
    space = load_space(project / "configs" / "spaces" / "cnn2d.json")
    assert find_point(space, parse_architecture(layers, "net.json")) is not None
