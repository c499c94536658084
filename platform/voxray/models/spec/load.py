"""Architecture files: JSON → a frozen, checked spec. A list is a sequential network, an object a U-Net."""

from typing import Annotated, Any

from pydantic import Field, TypeAdapter

from voxray.config.validation import read_json
from voxray.errors import ConfigError
from voxray.models.spec.layers import Layer
from voxray.models.spec.sequential import Sequential, parse_sequential
from voxray.models.spec.unet import UNet, parse_unet
from voxray.storage.paths import AnyPath

Architecture = Sequential | UNet


def load_architecture(path: AnyPath) -> Architecture:
    """Read and check an architecture file.

    Raises
    ------
    ConfigError
        With every problem and its place, such as ``[3].kernel_size`` or ``down[2][0]``. No tensor has been
        made by then.
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
        problem = f"wants a list of layers or an object, got {type(raw).__name__}"
        raise ConfigError(where, problem, 'Write [ {…}, {…} ] or {"type": "unet", …}')
    kind = raw.get("type")
    if kind == "unet":
        return parse_unet(raw, where)
    found = "missing" if kind is None else f"unknown architecture {kind!r}, known: 'unet'"
    raise ConfigError(f"{where}: type", found, 'Write {"type": "unet", …}, or a list of layers [ {…}, {…} ]')


def architecture_schema() -> dict[str, Any]:
    """A JSON Schema of architecture files, for editors."""
    layer = Annotated[Layer, Field(discriminator="type")]
    adapter: TypeAdapter[Any] = TypeAdapter(list[layer] | UNet)
    schema = adapter.json_schema()
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    schema["title"] = "Voxray architecture"
    return schema


def spatial_dims_of(architecture: Architecture) -> int | None:
    """2 or 3; None where there are only dense layers."""
    return architecture.spatial_dims
