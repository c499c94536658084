"""The plan of a classification, from fingerprints of its kinds of data."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from planning.fingerprints import CPU, CT, MR, fingerprint

from voxray.errors import ConfigError
from voxray.models.spec.load import parse_architecture
from voxray.planning.choices import Proposal
from voxray.planning.classification import choose_view, plan_classification


def classified(*arguments: Any, **changes: Any) -> Any:
    counts = np.array([600, 400])
    return fingerprint(*arguments, **{"masks": False, "classes": ("normal", "ill"), "counts": counts, **changes})


def plan(*arguments: Any, **changes: Any) -> Proposal:
    (proposal,) = plan_classification(classified(*arguments, **changes), CPU)
    parse_architecture(proposal.architecture, "the plan")
    return proposal


def test_small_scans_keep_their_size() -> None:
    proposal = plan((28, 28, 28), scans=1000)
    assert proposal.value("patches.size") == [28, 28, 28]
    assert proposal.value("patches.sampling") == "center"
    assert proposal.value("augment.dimensions") == 3
    assert proposal.value("training.monitor") == "roc_auc"
    assert proposal.value("training.class_weights") is None
    assert proposal.architecture[-1]["type"] == "T"


def test_large_scans_are_resized_to_voxels_that_are_as_alike_as_their_own() -> None:
    proposal = plan((512, 512, 40), (0.7, 0.7, 8), scans=200, channels=("CT",), intensities=(CT,))
    assert proposal.value("patches.sampling") == "resized"
    x, y, z = proposal.value("patches.size")
    assert (x == y, z) == (True, 40)
    assert x * y * z == pytest.approx(2**20, rel=0.1)
    assert proposal.value("intensity.kind") == "window"


def test_masks_that_say_where_to_look_give_slices_of_which_patients_have_the_mean() -> None:
    proposal = plan((240, 240, 155), located=True, channels=("t1", "t2"), intensities=(MR, MR))
    assert proposal.value("patches.size") == [240, 240]
    assert proposal.value("patches.sampling") == "slices"
    assert proposal.value("patches.patches_per_scan") == 16
    assert proposal.value("evaluation.level") == "patient"


def test_candidates_have_a_cube_in_millimeters() -> None:
    view = choose_view(classified((512, 512, 300), (0.7, 0.7, 2), points=True))
    assert (view.size, view.sampling) == ((58, 58, 20), "center")
    proposal = plan((512, 512, 300), (0.7, 0.7, 2), points=True, counts=np.array([50_000, 100]))
    assert proposal.value("training.monitor") == "average_precision"
    assert proposal.value("patches.negatives_per_positive") is None


def test_rare_classes_are_weighted_and_few_patients_have_folds_and_no_rank_statistic() -> None:
    proposal = plan((40, 40, 40), scans=60, counts=np.array([50, 10]))
    assert proposal.value("training.class_weights") == "balanced"
    assert proposal.value("split.folds") == 5
    assert proposal.value("training.monitor") == "loss"


def test_there_are_no_more_folds_than_scans_of_the_rarest_class() -> None:
    assert plan((40, 40, 40), scans=16, counts=np.array([13, 3])).value("split.folds") == 3


def test_memory_that_no_batch_fits_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--memory: training takes .* or more"):
        plan_classification(classified((64, 64, 64)), replace(CPU, memory_bytes=2**20))
