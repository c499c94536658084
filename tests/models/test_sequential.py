from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from torch import nn

from voxray.errors import ConfigError
from voxray.models.blocks import GlobalMean, PaddedConvolution, PaddedPooling, ResidualBlock
from voxray.models.build import build_model
from voxray.models.shapes import count_parameters, infer_shapes
from voxray.models.spec.load import parse_architecture


@st.composite
def layers_of_maps(draw: st.DrawFn, spatial_dims: int, nested: int = 1) -> list[dict[str, Any]]:
    """Layers that maps enter and leave; those of a block keep the size but for their strides."""
    paddings = ["same", "centered", "valid"] if nested else ["same", "centered"]
    raw: list[dict[str, Any]] = []
    for _ in range(draw(st.integers(1, 3))):
        kind = draw(st.sampled_from("CPNDR" if nested else "CPND"))
        layer: dict[str, Any] = {"type": kind}
        if kind in "CP":
            layer |= {"kernel_size": draw(st.lists(st.integers(1, 4), min_size=spatial_dims, max_size=spatial_dims))}
            layer |= {"stride": draw(st.lists(st.integers(1, 2), min_size=spatial_dims, max_size=spatial_dims))}
            layer |= {"padding": draw(st.sampled_from(paddings)), "drop_out": draw(st.sampled_from([0, 10]))}
        if kind == "C":
            layer |= {"activation": "relu", "num_output": draw(st.integers(1, 3)), "bias": draw(st.booleans())}
        elif kind == "P":
            layer |= {"pool": draw(st.sampled_from(["max", "avg"]))}
        elif kind == "N":
            layer |= {"normalization": draw(st.sampled_from(["batch", "instance"])), "activation": "elu"}
        elif kind == "D":
            layer |= {"drop_out": 20}
        elif kind == "R":
            layer |= {"activation": "relu", "layers": draw(layers_of_maps(spatial_dims, nested - 1))}
        raw.append(layer)
    return raw


@st.composite
def networks(draw: st.DrawFn) -> tuple[tuple[int, ...], list[dict[str, Any]]]:
    spatial_dims = draw(st.sampled_from([2, 3]))
    raw = draw(layers_of_maps(spatial_dims, 2))
    raw += [{"type": "G"}] if draw(st.booleans()) else []
    raw += [{"type": "FC", "activation": "elu", "num_output": 3, "drop_out": 10}] if draw(st.booleans()) else []
    raw.append({"type": "T", "activation": draw(st.sampled_from(["softmax", "sigmoid", None]))})
    return (draw(st.integers(1, 2)), *(draw(st.integers(12, 20)) for _ in range(spatial_dims))), raw


MODULES = (PaddedConvolution, PaddedPooling, nn.BatchNorm2d, nn.BatchNorm3d, nn.GroupNorm, ResidualBlock, GlobalMean)


@settings(max_examples=60, suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow])
@given(networks())
def test_the_predicted_shapes_and_parameters_are_the_real_ones(
    network: tuple[tuple[int, ...], list[dict[str, Any]]],
) -> None:
    shape, raw = network
    layers = parse_architecture(raw, "net.json")
    try:
        table = infer_shapes(layers, shape, 2, "net.json")
    except ConfigError:
        reject()
    model = build_model(layers, shape, 2, 0).eval()
    assert sum(each.numel() for each in model.parameters()) == count_parameters(table)
    seen: list[tuple[tuple[int, ...], int]] = []

    def note(module: nn.Module, given: object, result: torch.Tensor) -> None:
        own = 0 if isinstance(module, ResidualBlock) else sum(each.numel() for each in module.parameters())
        seen.append((tuple(result.shape[1:]), own))

    for module in model.modules():
        if isinstance(module, (*MODULES, nn.Linear)):
            module.register_forward_hook(note)
    logits = model(torch.rand(2, *shape))
    real = [line for line in table if line.type != "D"]
    assert seen[:-1] == [(line.output, line.parameters) for line in real[:-1]]
    assert seen[-1][1] == real[-1].parameters
    assert logits.shape == (2, *real[-1].output) == (2, 2)
    assert torch.isfinite(logits).all()


POOL = {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]}
CONVOLUTION = {"type": "C", "activation": None, "num_output": 2, "kernel_size": [3, 3, 3], "stride": [1, 1, 1]}
NORM = {"type": "N", "normalization": "batch"}
BLOCK = {"type": "R", "activation": "relu", "layers": [CONVOLUTION]}
OUTPUT = {"type": "T", "activation": None}


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ([POOL] * 5, "[4].stride: the map shrinks to nothing: stride 2 along z, where 1 is left"),
        (
            [POOL, POOL, {**CONVOLUTION, "padding": "valid"}, {**POOL, "padding": "valid"}, CONVOLUTION],
            "[3].stride: the map shrinks to nothing: stride 2 along z, where 1 is left",
        ),
        (
            [{**CONVOLUTION, "kernel_size": [3, 3, 11], "padding": "valid"}, POOL],
            "[0].kernel_size: the map shrinks to nothing: 'valid' kernel 11 along z, where 10 is left",
        ),
        (
            [{**BLOCK, "layers": [NORM, {**BLOCK, "layers": [{**CONVOLUTION, "padding": "valid"}]}]}],
            "[0].layers[1].layers: they give 2x62x62x8, its shortcut 2x64x64x10, which cannot be added",
        ),
        ([{**POOL, "kernel_size": [64, 64, 10], "padding": "valid"}, NORM], "give a larger patch or smaller strides"),
        ([{"type": "T", "activation": "sigmoid"}], "[0].activation: 'sigmoid' tells two classes apart, there are 3"),
    ],
)
def test_what_does_not_fit_is_named_before_any_tensor_is_made(raw: list[dict[str, Any]], words: str) -> None:
    raw = raw if raw[-1]["type"] == "T" else [*raw, OUTPUT]
    with pytest.raises(ConfigError) as caught:
        infer_shapes(parse_architecture(raw, "net.json"), (1, 64, 64, 10), 3, "net.json")
    assert words in str(caught.value)


def test_a_shortcut_is_adapted_only_where_it_must_be_and_normalized_like_the_block() -> None:
    wide = {**CONVOLUTION, "num_output": 6, "stride": [2, 2, 1]}
    raw = [
        {**BLOCK, "layers": [wide, {**NORM, "epsilon": 0.5}]},
        {**BLOCK, "layers": [{**CONVOLUTION, "num_output": 6}]},
    ]
    table = infer_shapes(parse_architecture([*raw, OUTPUT], "net.json"), (2, 8, 8, 8), 2, "net.json")
    found = [(line.key_path, line.output, line.parameters) for line in table[2:5]]
    assert found == [
        ("[0].shortcut[0]", (6, 4, 4, 8), 12),
        ("[0].shortcut[1]", (6, 4, 4, 8), 12),
        ("[0]", (6, 4, 4, 8), 0),
    ]
    assert [line.key_path for line in table[5:7]] == ["[1].layers[0]", "[1]"]
    model = build_model(parse_architecture([*raw, OUTPUT], "net.json"), (2, 8, 8, 8), 2, 0)
    assert [each.eps for each in model.modules() if isinstance(each, nn.BatchNorm3d)] == [0.5, 0.5]


def test_a_sigmoid_output_is_the_binary_case_of_probabilities_and_cross_entropy() -> None:
    layers = parse_architecture([{"type": "T", "activation": "sigmoid"}], "net.json")
    model = build_model(layers, (1, 3, 3), 2, 0)
    images, labels = torch.rand(5, 1, 3, 3), torch.tensor([0, 1, 1, 0, 1])
    logit = model[1](model[0](images))[:, 0]
    torch.testing.assert_close(model(images).softmax(1)[:, 1], logit.sigmoid())
    expected = nn.functional.binary_cross_entropy_with_logits(logit, labels.float())
    torch.testing.assert_close(nn.functional.cross_entropy(model(images), labels), expected)
