"""Architecture files: JSON → a frozen, checked spec. A list is a sequential network, an object a U-Net."""

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from voxray.config.validation import Spec, read_json
from voxray.errors import ConfigError
from voxray.models.layers import LAYERS, block_layers
from voxray.models.layers.base import Layer
from voxray.models.spec.sequential import Sequential, parse_sequential
from voxray.models.spec.unet import UNet, parse_unet
from voxray.storage.paths import AnyPath

Architecture = Sequential | UNet


def load_architecture(path: AnyPath) -> Architecture:
    """Read and check an architecture file.

    Raises
    ------
    ConfigError
        With every problem and its key path, such as ``[3].kernel_size`` or ``down[2][0]``. No tensor has been
        allocated by then.
    """
    return parse_architecture(read_json(path, "architecture", "Check model.architecture"), str(path))


def parse_architecture(raw: Any, where: str) -> Architecture:
    """Check a parsed architecture.

    Parameters
    ----------
    raw : object
        A list of layers, or an object whose ``type`` is ``unet``.
    where : str
        Named in errors.

    Raises
    ------
    ConfigError
    """
    if isinstance(raw, list):
        return parse_sequential(raw, where)
    if not isinstance(raw, dict):
        problem = f"expected a list of layers or an object, got {type(raw).__name__}"
        raise ConfigError(where, problem, 'Write [ {…}, {…} ] or {"type": "unet", …}')
    kind = raw.get("type")
    if kind == "unet":
        return parse_unet(raw, where)
    problem = "missing" if kind is None else f"unknown architecture {kind!r}, known: 'unet'"
    raise ConfigError(f"{where}: type", problem, 'Write {"type": "unet", …}, or a list of layers [ {…}, {…} ]')


def architecture_schema() -> dict[str, Any]:
    """A JSON Schema of architecture files, for editors."""
    models: list[type[Spec]] = [*LAYERS.values(), UNet]
    _, schema = models_json_schema([(model, "validation") for model in models])
    specs = schema["$defs"]
    del specs[Layer.__name__]
    for spec in specs.values():
        if "layers" in spec["properties"]:
            spec["properties"]["layers"]["items"] = _one_of(block_layers())
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Voxray architecture",
        "anyOf": [{"type": "array", "items": _one_of(LAYERS)}, {"$ref": f"#/$defs/{UNet.__name__}"}],
        "$defs": specs,
    }


def _one_of(layers: Mapping[str, type[Layer]]) -> dict[str, Any]:
    """The schema of one layer."""
    references = {name: f"#/$defs/{layer.__name__}" for name, layer in layers.items()}
    return {
        "discriminator": {"mapping": references, "propertyName": "type"},
        "oneOf": [{"$ref": reference} for reference in references.values()],
    }
