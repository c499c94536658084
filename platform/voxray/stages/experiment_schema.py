"""The JSON Schema of experiment files."""

from typing import Any

from voxray.config.experiment import Experiment
from voxray.config.tasks import TASKS
from voxray.datasets.layouts import LAYOUTS
from voxray.metrics.detection_score import CPM
from voxray.metrics.registry import task_metrics
from voxray.training.losses import LOSSES


def experiment_schema() -> dict[str, Any]:
    """A JSON Schema of experiment files, for editors; names of registries are listed as choices."""
    schema = Experiment.model_json_schema()
    models = {name: model["properties"] for name, model in schema["$defs"].items() if "properties" in model}
    monitors = {"loss", CPM.name} | {metric.name for task in TASKS for metric in task_metrics(task, per_epoch=True)}
    # A monitor may be the metric of one class, such as dice/liver.
    monitor = {"anyOf": [{"enum": sorted(monitors)}, {"pattern": "^[a-z0-9_]+/"}]}
    training = models["TrainingSpec"]
    models["DataSpec"]["layout"]["enum"] = sorted(LAYOUTS)
    for size in (models["PatchesSpec"]["size"], models["AugmentSpec"]["crop"]["anyOf"][0]):
        size["minItems"] = 2  # two numbers mean one slice
    training["loss"]["enum"] = sorted(LOSSES)
    training["monitor"] |= monitor
    training["early_stopping_monitor"]["anyOf"][0] |= monitor
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Voxray experiment"}
