"""The shipped experiments of published systems, planned on phantoms of their data sets."""

from pathlib import Path

import pytest

from voxray.config.load import load_experiment
from voxray.phantom.brats2020 import write_brats2020
from voxray.phantom.mosmed import write_mosmed
from voxray.stages.outline import plan_run as outline_stage


@pytest.mark.parametrize(
    ("name", "parameters", "patches", "classes"),
    [
        ("mosmed_cnn3d", 1_351_873, 10, ("normal", "abnormal")),
        ("brats2020_resnet18", 11_180_738, 160, ("LGG", "HGG")),
    ],
)
def test_networks_of_whole_scans_are_the_published_ones(
    project: Path, tmp_path: Path, name: str, parameters: int, patches: int, classes: tuple[str, ...]
) -> None:
    if name.startswith("mosmed"):
        write_mosmed(tmp_path, scans=10, matrix=32)
    else:
        write_brats2020(tmp_path, patients=10, shape=(24, 24, 24))
    spec = load_experiment(project / "configs" / "experiments" / f"{name}.toml", [f"data.root={tmp_path}"])
    outline = outline_stage(spec)
    assert outline.cost.parameters == parameters
    assert outline.plan.table.num_rows == patches
    assert outline.plan.classes == classes
    assert spec.evaluation.level == "patient"
