"""A new layer is one class and one line of the registry."""

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import jsonschema
import numpy as np
import pytest
import torch
from pydantic import Field
from torch.utils.flop_counter import FlopCounterMode

from voxray.config.training import TrainingSpec
from voxray.errors import ConfigError
from voxray.models.build import build_model
from voxray.models.cost.estimate import estimate_cost
from voxray.models.cost.operations import Operations, Value
from voxray.models.layers import LAYERS
from voxray.models.layers.base import Layer, Shape, Step
from voxray.models.shapes import count_parameters, infer_shapes
from voxray.models.spec.load import architecture_schema, parse_architecture
from voxray.search.space.inverse import find_point
from voxray.search.space.load import parse_space
from voxray.search.space.sampling import at_random, sample
from voxray.search.space.schema import space_schema

if TYPE_CHECKING:
    from torch import nn


class SqueezeExcitation(Layer):
    """`SE`: scales each channel by a number from 0 to 1 that is computed from the means of all (Hu et al. 2018)."""

    label = "squeeze and excitation"
    type: Literal["SE"]
    reduction: Annotated[int, Field(ge=1, description="channels for each hidden unit")]

    def units(self, channels: int) -> int:
        """Hidden units."""
        return max(channels // self.reduction, 1)

    def problems(self, step: Step) -> list[str]:
        """See `Layer`."""
        too_many = self.reduction > step.entering[0]
        return [f"{step.key_path}.reduction: more than the {step.entering[0]} channels"] if too_many else []

    def count_parameters(self, step: Step) -> int:
        """See `Layer`."""
        channels, units = step.entering[0], self.units(step.entering[0])
        return 2 * channels * units + channels + units

    def describe(self) -> str:
        """See `Layer`."""
        return f"1/{self.reduction} of the channels"

    def add_operations(self, network: Operations, step: Step, value: Value) -> Value:
        """See `Layer`."""
        channels, units = step.entering[0], self.units(step.entering[0])
        means = network.copy(value, channels)
        hidden = network.activate(network.convolve(means, units, 1, channels * units, units), "relu")
        scale = network.activate(network.convolve(hidden, channels, 1, units * channels, channels), "sigmoid")
        return network.add(value, scale)

    def build(self, shape: Shape, classes: int) -> "list[nn.Module]":
        """See `Layer`."""
        from torch import nn

        channels, units = shape[0], self.units(shape[0])

        class Scale(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                layers = nn.Linear(channels, units), nn.ReLU(), nn.Linear(units, channels), nn.Sigmoid()
                self.weights = nn.Sequential(*layers)

            def forward(self, maps: torch.Tensor) -> torch.Tensor:
                scale: torch.Tensor = self.weights(maps.flatten(2).mean(2))
                return maps * scale.reshape(*scale.shape, *(1,) * (maps.ndim - 2))

        return [Scale()]


C = {"type": "C", "activation": "relu", "num_output": 8, "kernel_size": [3, 3], "stride": [1, 1]}
SE = {"type": "SE", "reduction": 4}
T = {"type": "T", "activation": None}
NETWORK = [C, {"type": "R", "activation": None, "layers": [C, SE]}, SE, {"type": "G"}, T]


@pytest.fixture(autouse=True)
def _registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(LAYERS, "SE", SqueezeExcitation)


def test_a_registered_layer_is_parsed_and_its_problems_are_named() -> None:
    parse_architecture(NETWORK, "net.json")
    with pytest.raises(ConfigError) as caught:
        parse_architecture([{"type": "SE", "reducton": 2}, {"type": "G"}, SE, T], "net.json")
    for words in (
        "[0].reducton: unknown key; did you mean 'reduction'?",
        "[0].reduction: missing",
        "[2].type: 'SE' comes after 'G' [1]",
    ):
        assert words in str(caught.value)
    with pytest.raises(ConfigError, match=r"\[0\]\.reduction: more than the 1 channels"):
        infer_shapes(parse_architecture([SE, T], "net.json"), (1, 4, 4), 2, "net.json")


def test_a_registered_layer_has_shapes_parameters_and_a_label() -> None:
    table = infer_shapes(parse_architecture(NETWORK, "net.json"), (1, 16, 16), 2, "net.json")
    line = next(line for line in table if line.key_path == "[1].layers[1]")
    assert (line.label, line.detail) == ("squeeze and excitation", "1/4 of the channels")
    assert (line.output, line.parameters) == ((8, 16, 16), 2 * 16 + 8 + 2)


def test_a_registered_layer_is_built_and_costs_what_torch_counts() -> None:
    architecture = parse_architecture(NETWORK, "net.json")
    model = build_model(architecture, (1, 16, 16), 2, 0)
    cost = estimate_cost(architecture, (1, 16, 16), 2, TrainingSpec(batch_size=1), "net.json")
    table = infer_shapes(architecture, (1, 16, 16), 2, "net.json")
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert cost.parameters == count_parameters(table) == parameters
    with FlopCounterMode(display=False) as counter:
        model(torch.empty(1, 1, 16, 16))
    assert cost.forward_flops == counter.get_total_flops()


def test_a_network_with_a_registered_layer_learns() -> None:
    model = build_model(parse_architecture(NETWORK, "net.json"), (1, 16, 16), 2, 0)
    images, labels = torch.rand(8, 1, 16, 16), torch.tensor([0, 1] * 4)
    images[labels == 1] *= 0.2
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    losses = []
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]


def test_schemas_hold_a_registered_layer() -> None:
    validator = jsonschema.Draft202012Validator(architecture_schema())
    validator.validate(NETWORK)
    assert not validator.is_valid([{**SE, "reducton": 2}, T])
    assert not validator.is_valid([{"type": "R", "activation": None, "layers": [{**SE, "reduction": 0}]}, T])
    spaces = jsonschema.Draft202012Validator(space_schema())
    spaces.validate({"architecture": [{"type": "SE", "when": {"choice": [True, False]}, "reduction": "$n"}, T]})


def test_spaces_choose_among_registered_layers() -> None:
    raw: dict[str, Any] = {"architecture": [C, {"type": "SE", "reduction": {"choice": [1, 2, 4]}}, T]}
    space = parse_space(raw, "space.json")
    content = sample(space, 2, at_random(np.random.default_rng(0))).architecture
    architecture = parse_architecture(json.loads(json.dumps(content)), "sample")
    assert find_point(space, architecture) == {"[1].reduction": content[1]["reduction"]}
    with pytest.raises(ConfigError, match=r"architecture\[0\]\.reduction: should be greater than or equal to 1"):
        parse_space({"architecture": [{"type": "SE", "reduction": {"choice": [0, 2]}}, T]}, "space.json")


def test_every_layer_has_a_label_and_the_name_that_it_is_registered_by() -> None:
    for name, layer in LAYERS.items():
        assert layer.label
        assert layer.model_fields["type"].annotation == Literal[name]


def test_architectures_are_read_and_their_costs_estimated_without_torch(project: Path) -> None:
    code = f"""
import sys
from pathlib import Path
from voxray.config.training import TrainingSpec
from voxray.models.cost.estimate import estimate_cost
from voxray.models.spec.load import load_architecture
for name, shape in (("arch", (1, 64, 64)), ("unet3d", (1, 64, 64, 64))):
    architecture = load_architecture(Path({str(project)!r}, "configs", "architectures", f"{{name}}.json"))
    estimate_cost(architecture, shape, 3, TrainingSpec(), name)
assert "torch" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)
