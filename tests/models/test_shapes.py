import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import maximum_filter, uniform_filter

from voxray.config.architecture import load_architecture, parse_architecture
from voxray.errors import ConfigError
from voxray.models.blocks import SamePooling
from voxray.models.build import build_model
from voxray.models.shapes import count_parameters, infer_shapes, parse_input, same_padding

PUBLISHED = {
    "archsm": ((1, 64, 64), 99_948),
    "arch": ((1, 64, 64), 663_228),
    "arch3dsm": ((1, 64, 64, 10), 196_108),
    "arch3d": ((1, 64, 64, 10), 1_269_052),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_published_networks_have_their_published_parameters(project: Path, name: str) -> None:
    shape, parameters = PUBLISHED[name]
    layers = load_architecture(project / "configs" / "architectures" / f"{name}.json")
    assert count_parameters(infer_shapes(layers, shape, 2, name)) == parameters
    model = build_model(layers, shape, 2, 0)
    assert sum(each.numel() for each in model.parameters() if each.requires_grad) == parameters


sizes = st.integers(1, 12)


@st.composite
def networks(draw: st.DrawFn) -> tuple[tuple[int, ...], list[dict[str, object]]]:
    rank = draw(st.sampled_from([2, 3]))
    shape = tuple(draw(st.integers(3, 12)) for _ in range(rank))
    left, layers = list(shape), []
    for _ in range(draw(st.integers(1, 3))):
        stride = [draw(st.integers(1, min(3, size))) for size in left]
        kernel = [draw(st.integers(1, 5)) for _ in left]
        left = [math.ceil(size / step) for size, step in zip(left, stride, strict=True)]
        if draw(st.booleans()):
            filters = draw(st.integers(1, 3))
            layer = {"type": "C", "activation": "relu", "num_output": filters}
        else:
            layer = {"type": "P", "pool": draw(st.sampled_from(["max", "avg"]))}
        layers.append({**layer, "kernel_size": kernel, "stride": stride, "drop_out": 10})
    layers.append({"type": "FC", "activation": "elu", "num_output": 3, "drop_out": 0})
    return (draw(st.integers(1, 2)), *shape), [*layers, {"type": "T", "activation": "softmax"}]


@settings(max_examples=40, deadline=None)
@given(networks())
def test_the_predicted_shapes_and_parameters_are_the_real_ones(
    network: tuple[tuple[int, ...], list[dict[str, object]]],
) -> None:
    shape, raw = network
    layers = parse_architecture(raw, "net.json")
    table = infer_shapes(layers, shape, 3, "net.json")
    model = build_model(layers, shape, 3, 0).eval()
    assert sum(each.numel() for each in model.parameters()) == count_parameters(table)
    seen, maps = [], torch.rand(2, *shape)
    for module in model:
        maps = module(maps)
        seen.append(tuple(maps.shape[1:]))
    for line in table:
        assert line.output in seen
    assert torch.isfinite(maps).all()
    assert maps.shape == (2, 3)


@given(sizes, st.integers(1, 7), st.integers(1, 4))
def test_same_padding_gives_ceil_of_size_over_stride_and_its_odd_part_goes_to_the_far_side(
    size: int, kernel: int, stride: int
) -> None:
    before, after = same_padding(size, kernel, stride)
    output = (size + before + after - kernel) // stride + 1
    if kernel >= stride or (size - 1) % stride == 0:
        assert output == math.ceil(size / stride)
    assert after - before in (0, 1)


@pytest.mark.parametrize(("size", "kernel"), [((6, 7), (3, 2)), ((5, 4, 6), (2, 3, 5))])
def test_pooling_agrees_with_scipy_on_windows_that_reach_over_the_border(
    size: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).normal(size=size).astype(np.float32) - 5
    stride = (1,) * len(size)
    # SciPy centres an even window one to the left of ours: SAME puts the odd padding on the far side.
    origin = [-1 if extent % 2 == 0 else 0 for extent in kernel]
    tensor = torch.from_numpy(image)[None, None]
    largest = maximum_filter(image, kernel, mode="constant", cval=-np.inf, origin=origin)
    np.testing.assert_array_equal(SamePooling("max", size, kernel, stride)(tensor)[0, 0], largest)
    sums = uniform_filter(image.astype(float), kernel, mode="constant", origin=origin)
    inside = uniform_filter(np.ones(size), kernel, mode="constant", origin=origin)
    np.testing.assert_allclose(SamePooling("avg", size, kernel, stride)(tensor)[0, 0], sums / inside, rtol=1e-5)


def test_a_map_that_shrinks_to_nothing_is_named_before_any_tensor_is_made() -> None:
    pool = {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]}
    layers = parse_architecture([*[pool] * 5, {"type": "T", "activation": None}], "net.json")
    with pytest.raises(ConfigError, match=r"\[4\]\.stride: the map shrinks to nothing: stride 2 along z, where 1 is"):
        infer_shapes(layers, (1, 64, 64, 10), 2, "net.json")


def test_kernels_of_another_rank_than_the_input_are_refused(project: Path) -> None:
    layers = load_architecture(project / "configs" / "architectures" / "archsm.json")
    with pytest.raises(ConfigError, match="its kernels are 2D, the input 1x64x64x10 is 3D"):
        infer_shapes(layers, (1, 64, 64, 10), 2, "archsm.json")


@pytest.mark.parametrize("text", ["64", "1x64", "1x64x64x10x2", "1xax3", "1x0x4", ""])
def test_an_input_that_is_no_shape_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--input: wants CHANNELSxXxY"):
        parse_input(text)


def test_the_same_seed_gives_the_same_weights_and_leaves_the_global_generator_alone(project: Path) -> None:
    layers = load_architecture(project / "configs" / "architectures" / "archsm.json")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = (build_model(layers, (1, 16, 16), 2, seed) for seed in (1, 1, 2))
    torch.testing.assert_close(torch.rand(3), expected)
    for mine, same in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, same)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_dropout_is_off_at_prediction(project: Path) -> None:
    model = build_model(load_architecture(project / "configs" / "architectures" / "archsm.json"), (1, 16, 16), 2, 0)
    images = torch.rand(4, 1, 16, 16)
    model.train()
    assert not torch.equal(model(images), model(images))
    model.eval()
    assert torch.equal(model(images), model(images))
