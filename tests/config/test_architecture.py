import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from voxray.config.architecture import architecture_schema, load_architecture, parse_architecture
from voxray.errors import ConfigError

C = {"type": "C", "activation": "relu", "num_output": 4, "kernel_size": [3, 3], "stride": [1, 1], "drop_out": 0}
P = {"type": "P", "pool": "max", "kernel_size": [2, 2], "stride": [2, 2]}
FC = {"type": "FC", "activation": "relu", "num_output": 4}
T = {"type": "T", "activation": None}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({}, "type: missing. Write {"),
        ({"type": "unett"}, "type: unknown architecture 'unett', known: 'unet'"),
        ("C", "wants a list of layers or an object, got str"),
        ([], "no output layer"),
        ([C, P], "no output layer: the last layer must be of type 'T'"),
        ([C, 7, T], "[1]: wants an object, got 7"),
        ([{"kernel_size": [3, 3]}, T], "[0].type: missing"),
        ([{**C, "type": "D"}, T], "[0].type: unknown layer type 'D'; known: C, FC, P, T"),
        ([{**C, "num_ouput": 3}, T], "[0].num_ouput: unknown key; did you mean 'num_output'?"),
        ([{k: v for k, v in C.items() if k != "stride"}, T], "[0].stride: missing"),
        ([C, {**P, "kernel_size": [2, 2, 2]}, T], "[1].kernel_size: has 3 numbers where [0].kernel_size has 2"),
        ([{**C, "kernel_size": [3]}, T], "[0].kernel_size"),
        ([{**C, "kernel_size": [0, 3]}, T], "[0].kernel_size[0]"),
        ([{**C, "drop_out": 100}, T], "[0].drop_out"),
        ([{**P, "pool": "min"}, T], "[0].pool"),
        ([{**C, "activation": "rely"}, T], "[0].activation"),
        ([FC, C, T], "[1].type: 'C' comes after the dense layer [0]"),
        ([C, T, FC], "[1].type: nothing may follow the output layer"),
        ([C, T, T], "[1].type: nothing may follow the output layer"),
    ],
)
def test_every_problem_is_named_with_its_place(layers: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_architecture(layers, "net.json")
    assert str(caught.value).startswith("net.json: ")
    assert words in str(caught.value)


def test_all_problems_come_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_architecture([{**C, "num_output": -1}, {**P, "pool": "x"}], "net.json")
    for words in ("[0].num_output", "[1].pool", "no output layer"):
        assert words in str(caught.value)


def test_a_broken_json_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text("[{]")
    with pytest.raises(ConfigError, match="not a JSON file"):
        load_architecture(path)


def test_the_shipped_schema_is_that_of_the_specs(project: Path) -> None:
    shipped = json.loads((project / "configs" / "architecture.schema.json").read_text())
    assert shipped == architecture_schema(), "run make schema"


def test_the_schema_accepts_what_the_parser_accepts_and_refuses_typing_mistakes(project: Path) -> None:
    validator = jsonschema.Draft202012Validator(architecture_schema())
    for path in (project / "configs" / "architectures").glob("*.json"):
        validator.validate(json.loads(path.read_text()))
    assert not validator.is_valid([{**C, "num_ouput": 3}, T])
    assert not validator.is_valid([{**C, "type": "D"}, T])
