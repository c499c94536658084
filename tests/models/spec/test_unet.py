import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from voxray.errors import ConfigError
from voxray.models.spec.load import architecture_schema, load_architecture, parse_architecture
from voxray.models.spec.unet import UNet

NET: dict[str, Any] = {
    "type": "unet",
    "dimensions": 3,
    "down": [[4, 8], [8, 16], [16]],
    "up": [[8, 8], [4]],
    "output": {"activation": "sigmoid"},
}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"down": [[4], [8], [0, 3]]}, "down[2][0]: should be greater than or equal to 1, got 0"),
        ({"down": [[4], [], [8]]}, "down[1]: should have at least 1, got []"),
        ({"down": [[4]], "up": []}, "down: should have at least 2"),
        ({"down": 7}, "down: should be a list, got 7"),
        ({"up": [[8]]}, "up: expected 2 levels, one fewer than down, from deep to shallow, got 1"),
        ({"up": [[8], [4], [4]]}, "up: expected 2 levels, one fewer than down, from deep to shallow, got 3"),
        ({"dimensions": 4}, "dimensions: should be 2 or 3, got 4"),
        ({"dimensions": 2, "pool": [2, 2, 2]}, "pool: has 3 numbers where dimensions is 2"),
        ({"kernel_size": [3, 3]}, "kernel_size: has 2 numbers where dimensions is 3"),
        ({"kernel_size": [3, "x", 3]}, "kernel_size[1]: should be a valid integer"),
        ({"kernel_size": [[3, 3, 3], [3, 0, 3], [3, 3, 3]]}, "kernel_size[1][1]: should be greater than"),
        ({"kernel_size": [[3, 3, 3]]}, "kernel_size: expected one entry for each level of down, 3, got 1"),
        ({"pool": [[2, 2, 2], [2, 2]]}, "pool[1]: has 2 numbers where dimensions is 3"),
        ({"pool": [[2, 2, 2]] * 3}, "pool: expected one entry for each step of down, 2, got 3"),
        ({"pool": 2}, "pool: should be a list, got 2"),
        ({"pool": [[2, 2, 2], 2]}, "pool[1]: should be a list, got 2"),
        ({"pooling": "avg"}, "pooling: should be 'max' or 'stride', got 'avg'"),
        ({"residual": "yes"}, "residual: should be a valid boolean, got 'yes'"),
        ({"drop_out": 100}, "drop_out: should be less than 100"),
        ({"normalisation": "batch"}, "normalisation: unknown key; did you mean 'normalization'?"),
        ({"output": {"activation": None}}, "output.activation: should be 'sigmoid' or 'softmax'"),
        ({"output": {"activaton": "sigmoid"}}, "output.activaton: unknown key; did you mean 'activation'?"),
        ({"down": [[4], [8]], "up": [[4]], "deep_supervision": True}, "deep_supervision: needs 2 levels of up"),
    ],
)
def test_every_problem_is_named_with_its_place(change: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_architecture({**NET, **change}, "net.json")
    assert str(caught.value).startswith("net.json: the architecture has problems.\n  ")
    assert f"\n  {words}" in str(caught.value)


def test_all_problems_come_at_once_and_each_one_once() -> None:
    raw = {**NET, "down": [[4], [8], [0]], "up": [[8]], "pool": [2, 2], "kernel": 3, "pooling": "no"}
    with pytest.raises(ConfigError) as caught:
        parse_architecture(raw, "net.json")
    places = [line.split(":")[0].strip() for line in str(caught.value).splitlines()[1:]]
    assert sorted(places) == ["down[2][0]", "kernel", "pool", "pooling", "up"]


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_architecture({"type": "unet"}, "net.json")
    for key in ("dimensions", "down", "up", "output"):
        assert f"{key}: missing" in str(caught.value)


def test_sizes_are_given_once_or_for_each_level() -> None:
    once = parse_architecture({**NET, "pool": [2, 2, 1]}, "net.json")
    each = parse_architecture({**NET, "kernel_size": [[3, 3, 1], [3, 3, 3], [1, 1, 1]]}, "net.json")
    assert isinstance(once, UNet)
    assert isinstance(each, UNet)
    assert (once.kernels, once.strides) == (((3, 3, 3),) * 3, ((2, 2, 1),) * 2)
    assert (each.kernels, each.strides) == (((3, 3, 1), (3, 3, 3), (1, 1, 1)), ((2, 2, 2),) * 2)


def test_a_sigmoid_has_no_channel_for_the_background_and_a_softmax_has_one() -> None:
    nets = [parse_architecture({**NET, "output": {"activation": name}}, "") for name in ("sigmoid", "softmax")]
    assert [net.channels(4) for net in nets if isinstance(net, UNet)] == [3, 4]


def test_callers_can_tell_the_two_dialects_apart(project: Path) -> None:
    folder = project / "configs" / "architectures"
    assert isinstance(load_architecture(folder / "brats_unet3d.json"), UNet)
    assert not isinstance(load_architecture(folder / "arch3d.json"), UNet)
    assert [load_architecture(folder / f"{name}.json").spatial_dims for name in ("unet3d", "arch", "arch3d")] == [
        3,
        2,
        3,
    ]


def test_the_schema_accepts_u_nets_and_refuses_typing_mistakes(project: Path) -> None:
    validator = jsonschema.Draft202012Validator(architecture_schema())
    for path in (project / "configs" / "architectures").glob("*unet*.json"):
        validator.validate(json.loads(path.read_text()))
    validator.validate({**NET, "pool": [[2, 2, 1], [2, 2, 2]]})
    for change in ({"normalisation": "batch"}, {"pool": 2}, {"down": [[4], [0]]}, {"residual": "yes"}):
        assert not validator.is_valid({**NET, **change})
