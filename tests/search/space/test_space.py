import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from voxray.errors import ConfigError
from voxray.models.spec.load import parse_architecture
from voxray.search.space.load import load_space, parse_space
from voxray.search.space.sampling import at_random, sample
from voxray.search.space.schema import space_schema

C = {"type": "C", "activation": "relu", "num_output": 4, "kernel_size": 3, "stride": 1}
T = {"type": "T", "activation": None}
SPACES = ("cnn2d", "cnn3d", "resnet", "unet")


def problems(raw: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        parse_space(raw, "space.json")
    return str(caught.value)


@pytest.mark.parametrize(
    ("layer", "words"),
    [
        ({"num_output": {"choice": []}}, "architecture[0].num_output.choice: expected a list of one option or more"),
        ({"num_output": {"choice": [8, 8]}}, "architecture[0].num_output.choice: names the option 8 twice"),
        ({"num_output": {"choice": [{"int": [1, 2]}]}}, "choice: options are plain values"),
        ({"num_output": {"choice": [8], "int": [1, 2]}}, "'choice' stands alone, got 'int' beside it"),
        ({"num_output": {"int": [8, 4]}}, "architecture[0].num_output.int: expected low <= high"),
        ({"num_output": {"int": [8]}}, "expected [low, high] or [low, high, step], whole numbers, got [8]"),
        ({"drop_out": {"log_uniform": [0, 4]}}, "architecture[0].drop_out.log_uniform: expected [low, high], 0 < low"),
        ({"num_output": {"choise": [8]}}, "architecture[0].num_output.choise: unknown form; did you mean 'choice'?"),
        ({"num_output": "$filter"}, "architecture[0].num_output: unknown name $filter; did you mean 'filters'?"),
        ({"num_output": {"$filters": {"9": 3, "else": 4}}}, "$filters is never 9; known: 16, 8"),
        ({"num_output": {"$filters": {"8": 3}}}, "has no case for $filters = 16. Add it, or a case 'else'"),
        ({"num_output": {"times": "$filters"}}, 'expected {"times": [number, number]}'),
        ({"num_output": {"times": ["$filters", "a"]}}, "architecture[0].num_output: expected numbers, may get 'a'"),
        ({"num_output": {"times": ["$filters", 0.3]}}, "num_output: should be a valid integer"),
        ({"num_output": {"choice": [8, 0]}}, "architecture[0].num_output: should be greater than or equal to 1, got 0"),
        ({"num_ouput": 8}, "architecture[0].num_ouput: unknown key; did you mean 'num_output'?"),
        ({"type": {"choice": ["C", "X"]}}, "architecture[0].type: unknown layer type 'X'"),
        ({"when": {"$filters": 9}}, "architecture[0].when: $filters is never 9"),
        ({"when": "$filters"}, "architecture[0].when: expected true or false, may get 8"),
        ({"when": {"$filters": 8, "x": 1}}, 'expected {"$name": label}'),
        ({"kernel_size": {"choice": [[3, 3], [3, 3, 3]]}}, "[0].stride: has 2 numbers where"),
        ({"kernel_size": {"choice": [[3, 3], [3, 3, 3]]}, "stride": [1, 1]}, "when [0].kernel_size = [3, 3, 3]: [0]"),
    ],
)
def test_every_problem_of_a_layer_is_named_with_its_place(layer: dict[str, Any], words: str) -> None:
    changed = {**C, "bias": {"$filters": {"else": True}}, **layer}
    assert words in problems({"let": {"filters": {"choice": [8, 16]}}, "architecture": [changed, T]})


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([], "expected"),
        ({}, "'architecture' is missing or no list"),
        ({"architecture": [T], "experimant": {}}, "experimant: unknown key; did you mean 'experiment'?"),
        ({"architecture": [C]}, "architecture: no output layer"),
        ({"architecture": [7, T]}, "architecture[0]: expected an object, got 7"),
        ({"architecture": [{"ov": [], "repeat": 2}, T]}, "architecture[0]: expected a layer with a 'type', a block"),
        ({"architecture": [{"of": [C], "repaet": 2}, T]}, "[0].repaet: unknown key of a block; did you mean 'repeat'?"),
        ({"architecture": [{"of": [C], "repeat": {"choice": [1, 1.5]}}, T]}, "[0].repeat: expected a whole number"),
        ({"architecture": [{"of": C}, T]}, "architecture[0].of: expected a list"),
        ({"architecture": [{"of": [C], "name": "a b"}, T]}, "architecture[0].name: expected letters"),
        ({"architecture": [{"of": [{**C, "stride": 0}], "repeat": 2}, T]}, "[0].of[0].stride[0]: should be"),
        ({"architecture": [{"type": "R", "activation": None, "layers": [{**C, "bias": 3}]}, T]}, "[0].layers[0].bias"),
        ({"architecture": [T], "let": {"a": 1}}, "let.a: is used nowhere"),
        ({"architecture": [T], "let": {"index": 1}}, "let.index: invalid name"),
        ({"architecture": [T], "let": []}, "let: expected"),
        ({"architecture": ["$a", T], "let": {"a": "$b", "b": "$a"}}, "circular definition"),
        ({"architecture": [T], "experiment": 3}, "experiment: expected"),
        ({"architecture": [T], "experiment": {"training.learning_rat": 1}}, "did you mean 'learning_rate'?"),
        ({"architecture": [T], "experiment": {"trainin.l2": 1}}, "trainin.l2: unknown key path; did you mean"),
        ({"architecture": [T], "experiment": {"patches.size": [4, 4]}}, "patches.size: all trials share one store"),
        (
            {"architecture": [T], "experiment": {"training.weight_decay": {"choice": [0.1, -1]}}},
            "experiment.training.weight_decay: should",
        ),
        ({"architecture": [T], "experiment": {"training.batch_size": {"choice": [8, "16"]}}}, "training.batch_size"),
        (
            {"architecture": [T], "experiment": {"training.loss": {"choice": ["cross_entropy", "dice"]}}},
            "experiment.training.loss: unknown loss 'dice' for classification; known: cross_entropy",
        ),
        (
            {"architecture": [T], "experiment": {"training.monitor": "rocauc"}},
            "experiment.training.monitor: unknown metric 'rocauc'; did you mean 'roc_auc'?",
        ),
        (
            {"architecture": {"type": "unet", "dimensions": "$spatial_dims", "down": [[4]], "up": []}},
            "architecture: down",
        ),
    ],
)
def test_every_problem_of_a_file_is_named_with_its_place(raw: Any, words: str) -> None:
    text = problems(raw)
    assert text.startswith("space.json: ")
    assert words in text


def test_all_problems_come_at_once() -> None:
    layer = {**C, "num_output": {"choice": []}, "stride": "$step", "when": {"$spatial_dims": 4}}
    text = problems(
        {"let": {"a": 1}, "architecture": [layer, {"of": 3}, T], "experiment": {"training.weight_decay": {"int": [1]}}}
    )
    for words in (
        "num_output.choice",
        "$step",
        "$spatial_dims is never 4",
        "[1].of",
        "let.a",
        "experiment.training.weight_decay",
    ):
        assert words in text
    text = problems(
        {
            "architecture": [{**C, "num_output": 0, "x": 1}, T],
            "experiment": {"training.weight_decay": -1, "augment.flop": True},
        }
    )
    for words in (
        "[0].num_output",
        "[0].x",
        "training.weight_decay",
        "augment.flop: unknown key; did you mean 'flip'?",
    ):
        assert words in text


def test_a_name_cannot_stand_for_two_decisions() -> None:
    blocks = [{"name": "a", "let": {"n": {"int": [1, high]}}, "of": [{**C, "num_output": "$n"}]} for high in (2, 3)]
    assert "a.n: is the name of two different decisions" in problems({"architecture": [*blocks, T]})
    parse_space({"architecture": [blocks[0], blocks[0], T]}, "space.json")


def test_a_problem_that_only_some_decisions_lead_to_is_found() -> None:
    deep = {"name": "deep", "when": {"$kind": "deep"}, "let": {"n": {"int": [0, 1]}}, "of": [{**C, "num_output": "$n"}]}
    raw = {"let": {"kind": {"choice": ["flat", "deep"]}}, "architecture": [deep, T]}
    assert "architecture[0].of[0].num_output: should be greater than or equal to 1, got 0" in problems(raw)
    late = {"architecture": [{"repeat": {"int": [0, 1]}, "of": [{"type": "G"}]}, C, T]}
    assert "architecture, when [0] = 1: [1].type: 'C' comes after 'G' [0]" in problems(late)


@pytest.mark.parametrize("name", SPACES)
def test_every_sample_of_a_shipped_space_is_an_architecture(project: Path, name: str) -> None:
    space = load_space(project / "configs" / "spaces" / f"{name}.json")
    rng = np.random.default_rng(0)
    for spatial_dims in space.spatial_dims:
        for _ in range(50):
            content = sample(space, spatial_dims, at_random(rng)).architecture
            assert parse_architecture(json.loads(json.dumps(content)), "sample").spatial_dims == spatial_dims


def test_the_examples_of_the_documentation_are_accepted(project: Path) -> None:
    text = (project / "docs" / "spaces.md").read_text(encoding="utf-8")
    examples = [json.loads(block) for block in re.findall(r"```json\n(.*?)```", text, re.DOTALL)]
    assert examples
    for example in examples:
        parse_space(example, "spaces.md")


def test_the_shipped_schema_is_that_of_the_forms(project: Path) -> None:
    shipped = json.loads((project / "configs" / "space.schema.json").read_text())
    assert shipped == space_schema(), "run make schema"


def test_the_schema_accepts_the_shipped_spaces_and_refuses_typing_mistakes(project: Path) -> None:
    validator = jsonschema.Draft202012Validator(space_schema())
    for name in SPACES:
        validator.validate(json.loads((project / "configs" / "spaces" / f"{name}.json").read_text()))
    assert validator.is_valid({"architecture": [{**C, "num_output": {"choice": [4, 8]}}, T]})
    for wrong in ({"num_output": {"choise": [4]}}, {"num_ouput": 4}, {"num_output": {"int": [1, 2], "choice": [1]}}):
        assert not validator.is_valid({"architecture": [{**C, **wrong}, T]})
    assert not validator.is_valid({"architecture": [T], "experiment": {"patches.size": [4, 4]}})
