import json
from pathlib import Path

import numpy as np
import pytest

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.search.constraints import Conditions, Limits, draw, estimate
from voxray.search.space.load import load_space, parse_space
from voxray.search.space.sampling import Sample, at_random

PATCH = (1, 64, 64, 10)
GIBIBYTE = 2**30


def shipped(project: Path, name: str, **settings: int) -> Sample:
    content = json.loads((project / "configs" / "architectures" / f"{name}.json").read_text())
    return Sample(content, {f"training.{key}": value for key, value in settings.items()}, {})


def test_arch3d_at_batch_300_is_rejected_before_it_starts_and_arch3dsm_is_not(project: Path) -> None:
    conditions = Conditions(PATCH, 2, TrainingSpec(batch_size=300), limits=Limits(memory_bytes=8 * GIBIBYTE))
    with pytest.raises(ConfigError, match=r"needs 1[0-9.]+ GiB of memory, more than 8 GiB"):
        estimate(shipped(project, "arch3d"), conditions)
    assert estimate(shipped(project, "arch3dsm"), conditions).peak_bytes < 8 * GIBIBYTE


def test_the_batch_size_of_a_sample_comes_before_that_of_the_experiment(project: Path) -> None:
    conditions = Conditions(PATCH, 2, TrainingSpec(batch_size=300), limits=Limits(memory_bytes=8 * GIBIBYTE))
    assert estimate(shipped(project, "arch3d", batch_size=16), conditions).peak_bytes < 2 * GIBIBYTE


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(parameters=1000), "has 196,108 parameters, more than 1,000"),
        (Limits(flops=10**6), "FLOP a patch, more than 1 MFLOP"),
    ],
)
def test_limits_of_parameters_and_flops_are_named_with_what_was_found(
    project: Path, limits: Limits, reason: str
) -> None:
    with pytest.raises(ConfigError, match=reason):
        estimate(shipped(project, "arch3dsm"), Conditions(PATCH, 2, TrainingSpec(batch_size=1), limits=limits))


def test_strides_are_cut_to_what_is_left_of_flat_patches() -> None:
    pool = {"type": "P", "pool": "max", "kernel_size": 2, "stride": 2}
    space = parse_space({"architecture": [pool, pool, pool, {"type": "T", "activation": None}]}, "space")
    conditions = Conditions((1, 16, 16, 2), 2, TrainingSpec())
    drawn = draw(space, conditions, at_random(np.random.default_rng(0)))
    assert [layer["stride"] for layer in drawn.architecture[:-1]] == [[2, 2, 2], [2, 2, 1], [2, 2, 1]]
    assert estimate(drawn, conditions).parameters == 2 * 4 + 2


@pytest.mark.parametrize(
    ("name", "patch"),
    [("cnn2d", (1, 64, 64, 1)), ("cnn3d", PATCH), ("resnet", (4, 64, 64, 1)), ("unet", (1, 32, 48, 32))],
)
def test_nearly_all_samples_of_the_shipped_spaces_can_be_trained(
    project: Path, name: str, patch: tuple[int, int, int, int]
) -> None:
    space, conditions = (
        load_space(project / "configs" / "spaces" / f"{name}.json"),
        Conditions(patch, 2, TrainingSpec()),
    )
    suggest, rejected = at_random(np.random.default_rng(0)), 0
    for _ in range(100):
        try:
            estimate(draw(space, conditions, suggest), conditions)
        except ConfigError:
            rejected += 1
    assert rejected <= 10
