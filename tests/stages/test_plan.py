"""From a folder to an experiment that runs."""

import json
from pathlib import Path

import pytest
from inspection_scenes import write_cases

from voxray.datasets.layouts import load_checked_experiment
from voxray.executors import get_executor
from voxray.models.spec.load import load_architecture
from voxray.planning.speed import Speed
from voxray.planning.write import write_plan
from voxray.search.space.inverse import find_point
from voxray.search.space.load import load_space
from voxray.stages import plan as stage
from voxray.stages.outline import first_fold, plan_run


@pytest.fixture
def planned_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The plan of ten small scans with masks."""
    write_cases(tmp_path / "data", 10)
    monkeypatch.setattr(stage, "measure_speed", lambda _: Speed(1e10, "float32"))
    executor = get_executor("local")
    planned = stage.plan(tmp_path / "data", executor, lambda _: None, gpu=False, minutes=1)
    write_plan(planned, tmp_path / "plan")
    return tmp_path / "plan"


def test_a_planned_experiment_runs_and_its_space_contains_its_network(planned_folder: Path) -> None:
    experiment = load_checked_experiment(planned_folder / "experiment.toml")
    assert experiment.split.folds == 5
    assert experiment.patches.sampling == "center"
    assert experiment.intensity.kind == "window"
    assert experiment.store.dtype == "int16"

    planned = plan_run(first_fold(experiment))
    assert planned.plan.classes == ("background", "liver", "tumor")
    assert planned.plan.count("train") + planned.plan.count("val") + planned.plan.count("test") == 10

    network = load_architecture(planned_folder / "architecture.json")
    assert find_point(load_space(planned_folder / "space.json"), network)


def test_the_files_of_a_plan_say_what_each_choice_was_derived_from(planned_folder: Path) -> None:
    text = (planned_folder / "experiment.toml").read_text(encoding="utf-8")
    assert "# the median scan has 12 × 11 × 10 voxels" in text
    content = json.loads((planned_folder / "plan.json").read_text(encoding="utf-8"))
    assert content["fingerprint"]["scans"] == 10
    assert content["fingerprint"]["intensities"][0]["is_ct"]
    keys = [choice["key"] for choice in content["proposals"][0]["choices"]]
    assert len(keys) == len(set(keys))
    page = (planned_folder / "plan.html").read_text(encoding="utf-8")
    assert all(f"<code>{key}</code>" in page for key in keys)
