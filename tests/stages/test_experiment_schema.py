import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from voxray.datasets.layouts import LAYOUTS
from voxray.stages.experiment_schema import experiment_schema
from voxray.training.losses import LOSSES

EXPERIMENTS = sorted((Path(__file__).parents[2] / "configs" / "experiments").glob("*.toml"))


def problems(content: dict[str, Any]) -> list[str]:
    """Key paths of what the schema finds wrong."""
    errors = jsonschema.Draft202012Validator(experiment_schema()).iter_errors(content)
    return sorted(".".join(map(str, error.absolute_path)) for error in errors)


def test_the_shipped_schema_is_up_to_date(project: Path) -> None:
    shipped = json.loads((project / "configs" / "experiment.schema.json").read_text())
    assert shipped == json.loads(json.dumps(experiment_schema())), "run make schema"


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_shipped_experiments_fit_the_schema(path: Path) -> None:
    assert problems(tomllib.loads(path.read_text(encoding="utf-8"))) == []


def test_mistakes_do_not_fit_it(project: Path) -> None:
    content = tomllib.loads((project / "configs" / "experiments" / "demo.toml").read_text(encoding="utf-8"))
    content["data"]["layout"] = "luna17"
    content["training"] = {"epochs": 0, "loss": "hinge", "monitor": "luck"}
    content["unknown"] = 1
    assert problems(content) == ["", "data.layout", "training.epochs", "training.loss", "training.monitor"]


def test_the_metric_of_a_class_may_be_monitored(project: Path) -> None:
    content = tomllib.loads((project / "configs" / "experiments" / "brats_unet3d.toml").read_text(encoding="utf-8"))
    content["training"] |= {"monitor": "dice/edema", "early_stopping_monitor": "dice"}
    assert problems(content) == []


def test_registries_fill_the_choices() -> None:
    models = experiment_schema()["$defs"]
    assert models["DataSpec"]["properties"]["layout"]["enum"] == sorted(LAYOUTS)
    assert models["TrainingSpec"]["properties"]["loss"]["enum"] == sorted(LOSSES)
