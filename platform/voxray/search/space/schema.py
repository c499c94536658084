"""The JSON Schema of space files: that of architecture files, where each value may also be a form."""

from collections.abc import Mapping
from typing import Any

from voxray.models.spec.load import architecture_schema
from voxray.search.space.check import TABLES
from voxray.search.space.parse import SIZES

FORM = {"$ref": "#/$defs/Form"}
NAMED = "^\\$[A-Za-z]\\w*$"
NUMBER = {"type": "number"}
NUMBERS = {"type": "array", "items": NUMBER, "minItems": 2, "maxItems": 2}
WHOLE = {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 3}
LET = {
    "type": "object",
    "additionalProperties": {"$ref": "#/$defs/Value"},
    "description": 'names for decisions and values; used as "$name"',
}


def space_schema() -> dict[str, Any]:
    """A JSON Schema of space files, for editors."""
    architecture = architecture_schema()
    layers = {name: _opened(spec) for name, spec in architecture["$defs"].items()}
    settings = {f"^({'|'.join(TABLES)})\\.\\w+$": {"$ref": "#/$defs/Value"}}
    return {
        "$schema": architecture["$schema"],
        "title": "Voxray space",
        "type": "object",
        "properties": {
            "let": LET,
            "architecture": {"anyOf": [_items(architecture["anyOf"][0]["items"]), architecture["anyOf"][1]]},
            "experiment": {
                "type": "object",
                "patternProperties": settings,
                "additionalProperties": False,
                "description": "settings by key path, as --set takes them",
            },
        },
        "required": ["architecture"],
        "additionalProperties": False,
        "$defs": {**layers, **_forms()},
    }


def _forms() -> dict[str, Any]:
    value, condition = {"$ref": "#/$defs/Value"}, {"$ref": "#/$defs/Condition"}
    labels = {"type": ["string", "number", "boolean", "null", "array"]}
    forms = [
        {"type": "string", "pattern": NAMED, "description": "the value of a name"},
        _alone("choice", {"type": "array", "minItems": 1}, "one of these"),
        _alone("int", WHOLE, "low, high and perhaps step"),
        _alone("log_uniform", NUMBERS, "low and high, above 0"),
        {
            "type": "object",
            "patternProperties": {NAMED: {"type": "object", "additionalProperties": value}},
            "additionalProperties": False,
            "minProperties": 1,
            "maxProperties": 1,
            "description": "what stands beside the label of a name",
        },
        {
            "type": "object",
            "properties": {"times": {"type": "array", "items": value, "minItems": 1}, "at_most": value},
            "required": ["times"],
            "additionalProperties": False,
            "description": "a product, and its limit",
        },
    ]
    block = {
        "type": "object",
        "properties": {
            "name": {"type": "string", "pattern": "^[A-Za-z]\\w*$"},
            "when": condition,
            "repeat": {"anyOf": [{"type": "integer", "minimum": 0}, FORM]},
            "let": LET,
            "of": {"type": "array"},
        },
        "required": ["of"],
        "additionalProperties": False,
        "description": "items of the list around it, perhaps several times or under a condition",
    }
    named = {"type": "object", "patternProperties": {NAMED: labels}, "additionalProperties": False, "minProperties": 1}
    return {"Form": {"anyOf": forms}, "Value": {}, "Block": block, "Condition": {"anyOf": [named, FORM]}}


def _alone(key: str, value: Any, description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {key: value},
        "required": [key],
        "additionalProperties": False,
        "description": description,
    }


def _opened(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A layer or U-Net each of whose values may be a form."""
    network = spec["title"] == "UNet"
    properties = {key: _or_form(key, value, network) for key, value in spec["properties"].items()}
    if "type" in properties and not network:
        properties["when"] = {"$ref": "#/$defs/Condition"}
    return {**spec, "properties": properties}


def _or_form(key: str, value: Mapping[str, Any], network: bool) -> Mapping[str, Any]:
    if "const" in value:
        return value
    metadata = {word: value[word] for word in ("title", "description") if word in value}
    if key == "layers":
        return {**metadata, **_items(value["items"])}
    others: list[dict[str, Any]] = [FORM]
    if key in SIZES and value.get("type") != "string":
        others.append({"type": "integer", "minimum": 1})
    if network and "array" in str(value):
        others.append({"type": "array"})  # of blocks
    return {**metadata, "anyOf": [{word: each for word, each in value.items() if word not in metadata}, *others]}


def _items(layer: Mapping[str, Any]) -> dict[str, Any]:
    """A list of layers and blocks."""
    return {"type": "array", "items": {"anyOf": [*layer["oneOf"], {"$ref": "#/$defs/Block"}]}, "minItems": 1}
