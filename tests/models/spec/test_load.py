import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from voxray.errors import ConfigError
from voxray.models.layers import LAYERS
from voxray.models.shapes import count_parameters, infer_shapes, parse_input
from voxray.models.spec.load import architecture_schema, load_architecture, parse_architecture
from voxray.models.spec.sequential import Sequential

C = {"type": "C", "activation": "relu", "num_output": 4, "kernel_size": [3, 3], "stride": [1, 1], "drop_out": 0}
P = {"type": "P", "pool": "max", "kernel_size": [2, 2], "stride": [2, 2]}
FC = {"type": "FC", "activation": "relu", "num_output": 4}
T = {"type": "T", "activation": None}
G = {"type": "G"}
N = {"type": "N", "normalization": "batch"}
R = {"type": "R", "activation": "relu", "layers": [C, N]}


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        ({}, "type: missing. Write {"),
        ({"type": "unett"}, "type: unknown architecture 'unett', known: 'unet'"),
        ("C", "expected a list of layers or an object, got str"),
        ([], "no output layer"),
        ([C, P], "no output layer: the last layer must be of type 'T'"),
        ([C, 7, T], "[1]: expected an object, got 7"),
        ([{"kernel_size": [3, 3]}, T], "[0].type: missing"),
        ([{**C, "type": "X"}, T], "[0].type: unknown layer type 'X'; known: C, D, FC, G, N, P, R, T"),
        ([{**C, "num_ouput": 3}, T], "[0].num_ouput: unknown key; did you mean 'num_output'?"),
        ([{k: v for k, v in C.items() if k != "stride"}, T], "[0].stride: missing"),
        ([C, {**P, "kernel_size": [2, 2, 2]}, T], "[1].kernel_size: has 3 numbers where [0].kernel_size has 2"),
        ([{**C, "kernel_size": [3]}, T], "[0].kernel_size"),
        ([{**C, "kernel_size": [0, 3]}, T], "[0].kernel_size[0]"),
        ([{**C, "drop_out": 100}, T], "[0].drop_out"),
        ([{**P, "pool": "min"}, T], "[0].pool"),
        ([{**C, "activation": "rely"}, T], "[0].activation"),
        ([FC, C, T], "[1].type: 'C' comes after 'FC' [0], where there is no map left"),
        ([G, N, T], "[1].type: 'N' comes after 'G' [0], where there is no map left"),
        ([{**C, "padding": "full"}, T], "[0].padding"),
        ([{**C, "bias": "no"}, T], "[0].bias"),
        ([{**N, "normalization": "layer"}, T], "[0].normalization"),
        ([{**N, "normalization": "instance", "momentum": 0.1}, T], "[0].momentum: is for 'batch'"),
        ([{"type": "D"}, T], "[0].drop_out: missing"),
        ([{"type": "D", "dropout": 1}, T], "[0].dropout: should be less than 1, got 1"),
        ([{**C, "dropout": 0.5}, T], "[0].dropout: give either 'dropout' (a fraction) or 'drop_out' (a percentage)"),
        ([{**T, "activation": "relu"}], "[0].activation"),
        ([{**R, "layers": []}, T], "[0].layers: is empty"),
        ([{"type": "R", "activation": None}, T], "[0].layers: missing"),
        ([{**R, "layers": [C, FC]}, T], "[0].layers[1].type: 'FC' cannot stand in a residual block; known: C, P, N"),
        ([{**R, "layers": [{**C, "biass": True}]}, T], "[0].layers[0].biass: unknown key; did you mean 'bias'?"),
        (
            [P, {**R, "layers": [{**R, "layers": [{**C, "stride": [1, 1, 1]}]}]}, T],
            "[1].layers[0].layers[0].stride: has",
        ),
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
        parse_architecture([{**C, "num_output": -1}, {**P, "pool": "x"}, {**R, "layers": [N, 7], "x": 1}], "net.json")
    for words in (
        "[0].num_output",
        "[1].pool",
        "[2].layers[1]: expected an object",
        "[2].x: unknown",
        "no output layer",
    ):
        assert words in str(caught.value)


def test_a_broken_json_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "net.json"
    path.write_text("[{]")
    with pytest.raises(ConfigError, match="not a JSON file"):
        load_architecture(path)


def test_every_shipped_architecture_loads(project: Path) -> None:
    paths = list((project / "configs" / "architectures").glob("*.json"))
    assert paths
    for path in paths:
        load_architecture(path)


def test_a_fraction_and_a_percentage_of_dropout_mean_the_same() -> None:
    layers = [{"type": "D", "drop_out": 7}, {"type": "D", "dropout": 0.07}, {"type": "D", "dropout": 0}]
    percentage, fraction, none = (parse_architecture([layer, T], "net.json") for layer in layers)
    assert isinstance(percentage, Sequential)
    assert isinstance(fraction, Sequential)
    assert isinstance(none, Sequential)
    assert percentage.layers[0].model_dump() == fraction.layers[0].model_dump()
    assert percentage.layers[0].describe() == "drop 7 %"
    assert none.layers[0].build((1, 4), 2) == []


def test_every_example_of_the_documentation_is_accepted(project: Path) -> None:
    text = (project / "docs" / "architectures.md").read_text(encoding="utf-8")
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert {each["type"] for each in examples if isinstance(each, dict)} == {"unet", *LAYERS}
    for example in examples:
        one_layer = isinstance(example, dict) and example["type"] in LAYERS
        layers = [example] if one_layer and example["type"] == "T" else [example, T]
        parse_architecture(layers if one_layer else example, "architectures.md")


def test_the_documentation_lists_every_shipped_architecture_with_its_parameters(project: Path) -> None:
    text = (project / "docs" / "architectures.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)\.json` \| .* \| ([\dx]+) \| (\d) \| ([\d,]+) \|$", text, re.MULTILINE)
    folder = project / "configs" / "architectures"
    assert sorted(name for name, *_ in rows) == sorted(path.stem for path in folder.glob("*.json"))
    for name, shape, classes, parameters in rows:
        table = infer_shapes(load_architecture(folder / f"{name}.json"), parse_input(shape), int(classes), name)
        assert f"{count_parameters(table):,}" == parameters


def test_the_shipped_schema_is_that_of_the_specs(project: Path) -> None:
    shipped = json.loads((project / "configs" / "architecture.schema.json").read_text())
    assert shipped == architecture_schema(), "run make schema"


def test_the_schema_accepts_what_the_parser_accepts_and_refuses_typing_mistakes(project: Path) -> None:
    validator = jsonschema.Draft202012Validator(architecture_schema())
    for path in (project / "configs" / "architectures").glob("*.json"):
        validator.validate(json.loads(path.read_text()))
    assert not validator.is_valid([{**C, "num_ouput": 3}, T])
    assert not validator.is_valid([{**C, "type": "X"}, T])
    assert validator.is_valid([{**R, "layers": [C, R]}, T])
    assert not validator.is_valid([{**R, "layers": [C, FC]}, T])
    assert not validator.is_valid([{**R, "layers": []}, T])
