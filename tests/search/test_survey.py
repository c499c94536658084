from pathlib import Path

import pytest

from voxray.config.training import TrainingSpec
from voxray.search.constraints import Conditions, Limits
from voxray.search.space.load import load_space
from voxray.search.survey import kind_of, survey_space


def test_every_sample_is_either_weighed_or_rejected_with_a_reason(project: Path) -> None:
    space = load_space(project / "configs" / "spaces" / "cnn2d.json")
    conditions = Conditions((1, 32, 32, 1), 2, TrainingSpec(batch_size=8), limits=Limits(parameters=100_000))
    survey = survey_space(space, conditions, 0)
    assert survey.drawn == 1000
    one_voxel = "batch normalization of a map of one voxel leaves nothing of it"
    assert set(survey.rejected) == {"more parameters than 100,000", one_voxel}
    assert 0 < len(survey.costs) < 1000
    assert max(cost.parameters for cost in survey.costs) <= 100_000


@pytest.mark.parametrize(
    ("reason", "kind"),
    [
        ("has 9,000 parameters, more than 8,000", "more parameters than 8,000"),
        ("needs 9.1 GiB of memory, more than 8 GiB", "more memory than 8 GiB"),
        (
            "does not fit the input 1x8.\n  [2].stride: the map shrinks to nothing: stride 3 along x, where 2 is left",
            "the map shrinks to nothing",
        ),
        ("val/loss has no value", "val/loss has no value"),
    ],
)
def test_reasons_are_counted_without_their_numbers(reason: str, kind: str) -> None:
    assert kind_of(reason) == kind
