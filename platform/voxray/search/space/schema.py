"""The JSON Schema of space files: that of architecture files, where each value may also be a form."""

from collections.abc import Mapping
from typing import Any

from voxray.models.spec.load import architecture_schema
from voxray.search.space.check import TABLES
from voxray.search.space.parse import SIZES

FORM = {"$ref": "#/$defs/Form"}
VALUE = {"$ref": "#/$defs/Value"}
CONDITION = {"$ref": "#/$defs/Condition"}
NAMED = "^\\$[A-Za-z]\\w*$"


def space_schema() -> dict[str, Any]:
    """A JSON Schema of space files, for editors."""
    architecture = architecture_schema()
    layers, unet = architecture["anyOf"]
    settings = _object({}, "settings by key path, as --set takes them")
    settings["patternProperties"] = {f"^({'|'.join(TABLES)})\\.\\w+$": VALUE}
    properties = {"let": LET, "architecture": {"anyOf": [_items(layers["items"]), unet]}, "experiment": settings}
    return {
        "$schema": architecture["$schema"],
        "title": "Voxray space",
        **_object(properties, required="architecture"),
        "$defs": {**{name: _open(spec) for name, spec in architecture["$defs"].items()}, **DEFINITIONS},
    }


def _object(properties: dict[str, Any], description: str = "", *, required: str = "") -> dict[str, Any]:
    """An object with these keys and no others."""
    return {
        "type": "object",
        **({"properties": properties} if properties else {}),
        **({"required": [required]} if required else {}),
        "additionalProperties": False,
        **({"description": description} if description else {}),
    }


def _by_name(value: Any, description: str = "", **limits: int) -> dict[str, Any]:
    """An object whose keys are names with a dollar sign."""
    return {**_object({}, description), "patternProperties": {NAMED: value}, "minProperties": 1, **limits}


def _array(items: Any = None, **limits: int) -> dict[str, Any]:
    return {"type": "array", **({"items": items} if items else {}), **limits}


def _open(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A layer or U-Net whose values may be forms."""
    is_network = spec["title"] == "UNet"
    properties = {key: _or_form(key, value, is_network) for key, value in spec["properties"].items()}
    if "type" in properties and not is_network:
        properties["when"] = CONDITION
    return {**spec, "properties": properties}


def _or_form(key: str, value: Mapping[str, Any], is_network: bool) -> Mapping[str, Any]:
    if "const" in value:
        return value
    plain = dict(value)
    metadata: dict[str, Any] = {word: plain.pop(word) for word in ("title", "description") if word in plain}
    if key == "layers":
        return {**metadata, **_items(value["items"])}
    is_list = "array" in str(value)
    number = [{"type": "integer", "minimum": 1}] if is_list and key in SIZES else []
    blocks = [_array()] if is_list and is_network else []
    return {**metadata, "anyOf": [plain, FORM, *number, *blocks]}


def _items(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A list of layers and blocks."""
    return _array({"anyOf": [*layer["oneOf"], {"$ref": "#/$defs/Block"}]}, minItems=1)


LET = {
    "type": "object",
    "additionalProperties": VALUE,
    "description": 'names for decisions and values; used as "$name"',
}
_FORMS = [
    {"type": "string", "pattern": NAMED, "description": "the value of a name"},
    _object({"choice": _array(minItems=1)}, "one of these", required="choice"),
    _object({"int": _array({"type": "integer"}, minItems=2, maxItems=3)}, "low, high and perhaps step", required="int"),
    _object(
        {"log_uniform": _array({"type": "number"}, minItems=2, maxItems=2)},
        "low and high, above 0",
        required="log_uniform",
    ),
    _by_name({"type": "object", "additionalProperties": VALUE}, "the case of the label of a name", maxProperties=1),
    _object({"times": _array(VALUE, minItems=1), "at_most": VALUE}, "a product, and its limit", required="times"),
]
_BLOCK = {
    "name": {"type": "string", "pattern": "^[A-Za-z]\\w*$"},
    "when": CONDITION,
    "repeat": {"anyOf": [{"type": "integer", "minimum": 0}, FORM]},
    "let": LET,
    "of": _array(),
}
_LABELS = {"type": ["string", "number", "boolean", "null", "array"]}
DEFINITIONS = {
    "Form": {"anyOf": _FORMS},
    "Value": {},
    "Block": _object(_BLOCK, "items of the enclosing list, perhaps several times or under a condition", required="of"),
    "Condition": {"anyOf": [_by_name(_LABELS), FORM]},
}
