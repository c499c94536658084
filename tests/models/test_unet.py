import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from voxray.errors import ConfigError
from voxray.models.blocks import PaddedConvolution
from voxray.models.build import build_model
from voxray.models.shapes import count_parameters, infer_shapes, model_input
from voxray.models.spec.load import load_architecture, parse_architecture
from voxray.models.spec.unet import UNet
from voxray.models.unet_model import StepUp, UNetModel
from voxray.models.unet_shapes import least_sizes

NET: dict[str, Any] = {
    "type": "unet",
    "dimensions": 3,
    "down": [[2], [3], [4]],
    "up": [[3], [2]],
    "output": {"activation": "softmax"},
}
SHIPPED = {
    "brats_unet3d": ((4, 160, 160, 16), 4, 16_318_307),
    "unet3d": ((1, 96, 96, 96), 3, 16_545_516),
    "hippocampus_unet3d": ((1, 48, 64, 48), 3, 1_401_593),
}


def unet(**changes: Any) -> UNet:
    """A small U-Net with some keys changed."""
    parsed = parse_architecture({**NET, **changes}, "net.json")
    assert isinstance(parsed, UNet)
    return parsed


def parameters(model: nn.Module) -> int:
    """Trainable ones."""
    return sum(each.numel() for each in model.parameters() if each.requires_grad)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_networks_have_their_parameters(project: Path, name: str) -> None:
    shape, classes, expected = SHIPPED[name]
    architecture = load_architecture(project / "configs" / "architectures" / f"{name}.json")
    assert count_parameters(infer_shapes(architecture, shape, classes, name)) == expected
    assert parameters(build_model(architecture, shape, classes, 0)) == expected


def test_the_published_brain_network_gives_three_channels_and_keeps_the_patch(project: Path) -> None:
    architecture = load_architecture(project / "configs" / "architectures" / "brats_unet3d.json")
    table = infer_shapes(architecture, (4, 160, 160, 16), 4, "brats_unet3d")
    assert table[-1].output == (3, 160, 160, 16)
    assert min(line.output[-1] for line in table) == 2


@st.composite
def networks(draw: st.DrawFn) -> tuple[tuple[int, ...], dict[str, Any]]:
    spatial_dims = draw(st.sampled_from([2, 3]))
    levels = draw(st.integers(2, 4))

    def filters() -> list[int]:
        return draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))

    def sizes(count: int, most: int) -> list[int] | list[list[int]]:
        one = st.lists(st.integers(1, most), min_size=spatial_dims, max_size=spatial_dims)
        return draw(one | st.lists(one, min_size=count, max_size=count))

    raw = {
        "type": "unet",
        "dimensions": spatial_dims,
        "down": [filters() for _ in range(levels)],
        "up": [filters() for _ in range(levels - 1)],
        "kernel_size": sizes(levels, 4),
        "pool": sizes(levels - 1, 3),
        "pooling": draw(st.sampled_from(["max", "stride"])),
        "upsampling": draw(st.sampled_from(["nearest", "linear", "transposed"])),
        "normalization": draw(st.sampled_from(["none", "batch", "instance"])),
        "activation": draw(st.sampled_from(["relu", "leaky_relu", "elu", "tanh"])),
        "residual": draw(st.booleans()),
        "deep_supervision": levels > 2 and draw(st.booleans()),
        "drop_out": draw(st.sampled_from([0, 20])),
        "output": {"activation": draw(st.sampled_from(["sigmoid", "softmax"]))},
    }
    strides = unet(**raw).strides
    # A total stride fits by the law; one more voxel or two along x makes it odd, and leaves more than one voxel.
    total = [math.prod(stride[axis] for stride in strides) for axis in range(spatial_dims)]
    shape = (total[0] + 1 + draw(st.integers(0, 2)), *(size + draw(st.integers(0, 3)) for size in total[1:]))
    return (draw(st.integers(1, 2)), *shape), raw


@settings(max_examples=60, deadline=None)
@given(networks())
def test_the_predicted_shapes_and_parameters_are_the_real_ones(network: tuple[tuple[int, ...], dict[str, Any]]) -> None:
    shape, raw = network
    architecture = unet(**raw)
    table = infer_shapes(architecture, shape, 3, "net.json")
    model = build_model(architecture, shape, 3, 0)
    assert parameters(model) == count_parameters(table)
    seen: list[tuple[int, ...]] = []
    for module in model.modules():
        if isinstance(module, PaddedConvolution | StepUp | nn.MaxPool2d | nn.MaxPool3d):
            module.register_forward_hook(lambda module, given, result: seen.append(tuple(result.shape[1:])))
    logits = model(torch.rand(2, *shape))
    assert seen == [line.output for line in table]
    several = logits if isinstance(logits, list) else [logits]
    assert len(several) == (len(architecture.up) if architecture.deep_supervision else 1)
    assert several[0].shape == (2, architecture.channels(3), *shape[1:])
    sum(each.sum() for each in several).backward()
    assert all(each.grad is not None and torch.isfinite(each.grad).all() for each in model.parameters())


@settings(max_examples=60, deadline=None)
@given(networks())
def test_the_least_sizes_fit_and_one_voxel_less_does_not(network: tuple[tuple[int, ...], dict[str, Any]]) -> None:
    architecture = unet(**{**network[1], "normalization": "none"})
    least = least_sizes(architecture)
    infer_shapes(architecture, (1, *least), 2, "net.json")
    for axis, size in enumerate(least):
        if size > 1:
            smaller = [number - (place == axis) for place, number in enumerate(least)]
            with pytest.raises(ConfigError, match=f"{'xyz'[axis]} must be {size} or more"):
                infer_shapes(architecture, (1, *smaller), 2, "net.json")


def test_the_logits_are_those_of_the_network_written_out_by_hand() -> None:
    model = build_model(unet(down=[[2, 3], [4, 5]], up=[[3, 2]]), (1, 8, 6, 4), 2, 0)
    weights = list(model.parameters())
    images = torch.rand(2, 1, 8, 6, 4)

    def layer(maps: torch.Tensor, number: int) -> torch.Tensor:
        return F.relu(F.conv3d(maps, weights[2 * number], weights[2 * number + 1], padding=1))

    skip = layer(layer(images, 0), 1)
    deep = layer(layer(F.max_pool3d(skip, 2), 2), 3)
    joined = torch.cat([deep.repeat_interleave(2, 2).repeat_interleave(2, 3).repeat_interleave(2, 4), skip], 1)
    expected = F.conv3d(layer(layer(joined, 4), 5), weights[-2], weights[-1])
    torch.testing.assert_close(model(images), expected)


def test_a_residual_level_adds_what_enters_to_what_leaves() -> None:
    model = build_model(unet(down=[[3, 3], [4, 4]], up=[[3, 3]], residual=True), (3, 4, 4, 4), 2, 0)
    assert isinstance(model, UNetModel)
    maps = torch.rand(1, 3, 4, 4, 4) - 0.5
    for parameter in model.down.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(model.down[0](maps), F.relu(maps))


@pytest.mark.parametrize("size", [4, 5, 7])
def test_voxels_stay_where_they_were_when_the_stride_does_not_divide_the_size(size: int) -> None:
    image = torch.arange(float(size)).expand(1, 1, size, size, size)
    model = build_model(unet(), (1, 8, 8, 8), 2, 0)
    assert isinstance(model, UNetModel)
    step = StepUp(unet(), next(unet().up_levels()))
    raised = step(model.pools[1](image), image)[:, 0]
    last = (torch.arange(size) // 2 * 2 + 1).clamp(max=size - 1)
    assert torch.equal(raised[0, 0, 0], last.float())


def test_instance_normalization_leaves_each_channel_of_each_patch_with_mean_zero_and_deviation_one() -> None:
    model = build_model(unet(normalization="instance"), (1, 8, 8, 8), 2, 0)
    assert isinstance(model, UNetModel)
    normalized = model.down[0].body(torch.rand(3, 1, 8, 8, 8) * 50)
    expected = F.instance_norm(model.down[0].body[0](torch.rand(3, 1, 8, 8, 8)))
    assert normalized.shape == expected.shape
    torch.testing.assert_close(normalized.mean((2, 3, 4)), torch.zeros(3, 2), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalized.std((2, 3, 4), correction=0), torch.ones(3, 2), atol=1e-2, rtol=0)


def test_a_network_takes_other_sizes_than_that_of_its_patches() -> None:
    model = build_model(unet(pooling="stride", normalization="instance"), (1, 8, 8, 8), 2, 0).eval()
    for shape in ((8, 8, 8), (13, 9, 4), (30, 5, 7)):
        assert model(torch.rand(1, 1, *shape)).shape == (1, 2, *shape)


def test_deep_supervision_gives_coarser_logits_while_training_and_one_tensor_afterwards() -> None:
    model = build_model(unet(deep_supervision=True), (1, 9, 8, 8), 3, 0)
    images = torch.rand(1, 1, 9, 8, 8)
    assert [tuple(logits.shape) for logits in model(images)] == [(1, 3, 9, 8, 8), (1, 3, 5, 4, 4)]
    assert torch.equal(model.eval()(images), model.train()(images)[0])


def test_a_two_dimensional_network_takes_patches_of_one_slice() -> None:
    architecture = unet(dimensions=2)
    assert model_input(architecture, (4, 16, 16, 1)) == (4, 16, 16)
    with pytest.raises(ConfigError, match="takes patches of one slice"):
        model_input(architecture, (4, 16, 16, 2))
    assert build_model(architecture, (4, 16, 16), 3, 0)(torch.rand(1, 4, 16, 16)).shape == (1, 3, 16, 16)


def test_a_map_that_shrinks_to_nothing_is_named_with_the_size_that_fits() -> None:
    with pytest.raises(ConfigError) as caught:
        infer_shapes(unet(pool=[[2, 2, 2], [4, 2, 2]]), (1, 2, 8, 2), 2, "net.json")
    assert str(caught.value).splitlines()[1:] == [
        "  down[2]: the map shrinks to nothing: stride 4 along x, where 1 is left; x must be 7 or more",
        "  down[2]: the map shrinks to nothing: stride 2 along z, where 1 is left; z must be 3 or more",
    ]


@pytest.mark.parametrize("kind", ["batch", "instance"])
def test_normalizing_a_single_voxel_is_refused(kind: str) -> None:
    with pytest.raises(ConfigError, match=rf"down\[2\]: {kind} normalization of a map of one voxel"):
        infer_shapes(unet(normalization=kind), (1, 4, 4, 4), 2, "net.json")


def test_an_input_of_another_rank_is_refused() -> None:
    with pytest.raises(ConfigError, match="its kernels are 3D, the input 1x16x16 is 2D"):
        infer_shapes(unet(), (1, 16, 16), 2, "net.json")


def test_the_same_seed_gives_the_same_weights_and_logits_start_moderate() -> None:
    architecture = unet(down=[[8, 8], [16, 16], [32, 32]], up=[[16, 16], [8, 8]], upsampling="transposed")
    first, second, other = (build_model(architecture, (1, 16, 16, 16), 2, seed) for seed in (1, 1, 2))
    for mine, same in zip(first.parameters(), second.parameters(), strict=True):
        assert torch.equal(mine, same)
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))
    assert 0.05 < float(first(torch.randn(2, 1, 16, 16, 16)).detach().std()) < 10
