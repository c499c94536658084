"""The JSON Schema of experiment files."""

from typing import Any

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import LAYOUTS


def experiment_schema() -> dict[str, Any]:
    """A JSON Schema of experiment files, for editors; names that registries hold are listed."""
    schema = Experiment.model_json_schema()
    models = schema["$defs"]
    models["DataSpec"]["properties"]["layout"]["enum"] = sorted(LAYOUTS)
    models["PatchesSpec"]["properties"]["size"]["minItems"] = 2  # two numbers mean one slice
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "Voxray experiment"}
