"""The space around a plan: the plan is a sample of it, and so are networks that build and fit the memory."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from planning.fingerprints import CPU, CT, fingerprint

from voxray.config.training import TrainingSpec
from voxray.models.build import build_model
from voxray.models.spec.load import load_architecture, parse_architecture
from voxray.planning.choices import Proposal
from voxray.planning.classification import plan_classification
from voxray.planning.segmentation import plan_segmentation
from voxray.planning.spaces import space_around
from voxray.search.constraints import Conditions, Limits, draw, estimate
from voxray.search.space.inverse import find_point
from voxray.search.space.load import parse_space
from voxray.search.space.sampling import at_random, sample

CLASSES = {"masks": False, "classes": ("normal", "ill"), "counts": np.array([600, 400])}
PLANS = {
    "small scans": lambda: plan_classification(fingerprint((28, 28, 28), scans=1000, **CLASSES), CPU),
    "resized scans": lambda: plan_classification(fingerprint((512, 512, 40), (0.7, 0.7, 8), **CLASSES), CPU),
    "slices": lambda: plan_classification(fingerprint((240, 240, 155), located=True, **CLASSES), CPU),
    "candidates": lambda: plan_classification(
        fingerprint((512, 512, 300), (0.7, 0.7, 2), points=True, intensities=(CT,), **CLASSES), CPU
    ),
    "masks": lambda: plan_segmentation(fingerprint((36, 50, 36)), CPU),
}


@pytest.fixture(params=PLANS)
def proposal(request: pytest.FixtureRequest) -> Proposal:
    return PLANS[request.param]()[0]


def conditions_of(proposal: Proposal) -> Conditions:
    size: Any = (1, *proposal.value("patches.size"), 1)[:4]
    batch = proposal.value("training.batch_size")
    training = TrainingSpec(batch_size=batch, optimizer="adamw", ema_decay=0.99, precision=CPU.precision)
    return Conditions(size, 2, training, limits=Limits(memory_bytes=CPU.memory_bytes))


def test_the_plan_is_a_sample_with_all_of_its_settings(proposal: Proposal, tmp_path: Path) -> None:
    space = parse_space(space_around(proposal), "space")
    (tmp_path / "plan.json").write_text(json.dumps(proposal.architecture))
    plan = load_architecture(tmp_path / "plan.json")
    settings = {key: proposal.value(key) for key in space.experiment}
    point = find_point(space, plan, settings)
    assert point is not None
    drawn = sample(space, len(conditions_of(proposal).input_shape) - 1, lambda name, _: point[name])
    assert parse_architecture(drawn.architecture, "sample") == plan
    assert drawn.settings == settings


def test_samples_build_and_fit_the_memory_of_the_plan(proposal: Proposal) -> None:
    space, conditions = parse_space(space_around(proposal), "space"), conditions_of(proposal)
    suggest = at_random(np.random.default_rng(0))
    samples = [draw(space, conditions, suggest) for _ in range(8)]
    for drawn in samples:
        estimate(drawn, conditions)
    network = build_model(parse_architecture(samples[0].architecture, "sample"), conditions.input_shape, 2, 0)
    assert sum(weights.numel() for weights in network.parameters()) == estimate(samples[0], conditions).parameters
