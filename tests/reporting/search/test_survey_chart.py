import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from voxray.config.training import TrainingSpec
from voxray.reporting.search.survey_chart import survey_tables, write_survey_chart
from voxray.search.constraints import Conditions, Limits
from voxray.search.space.load import load_space
from voxray.search.survey import Survey, survey_space


@pytest.fixture(scope="module")
def survey() -> Survey:
    space = load_space(Path(__file__).parents[3] / "configs" / "spaces" / "cnn2d.json")
    limits = Limits(parameters=100_000, memory_bytes=2**30)
    return survey_space(space, Conditions((1, 32, 32, 1), 2, TrainingSpec(batch_size=8), limits=limits), 0)


def printed(survey: Survey) -> str:
    console = Console(width=120, file=io.StringIO(), record=True)
    for table in survey_tables(survey, 1e-9):
        console.print(table)
    return console.export_text()


def test_the_table_has_the_spread_of_each_cost_and_the_reasons(survey: Survey) -> None:
    text = printed(survey)
    assert f"1,000 samples, {len(survey.costs)} valid" in text
    for name in ("trainable parameters", "training memory", "FLOPs per patch", "estimated epoch time"):
        assert name in text
    assert "more parameters than 100,000" in text


def test_the_picture_is_written_also_where_nothing_is_valid(survey: Survey, tmp_path: Path) -> None:
    base = survey.costs[0]
    path = write_survey_chart(tmp_path / "search", survey, base, "base", 1e-9)
    with Image.open(path) as picture:
        assert np.asarray(picture.convert("L")).std() > 20
    none = replace(survey, costs=())
    assert write_survey_chart(tmp_path, none, base, "base", 1e-9).exists()
    assert "0 valid" in printed(none)
