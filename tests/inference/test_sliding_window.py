from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data.utils import compute_importance_map
from monai.inferers import sliding_window_inference

from voxray.errors import ConfigError
from voxray.inference.sliding_window import Weights, slide_slabs, window_starts, window_weights


def small_net(channels: int = 1, classes: int = 3) -> torch.nn.Module:
    """Two fixed random convolutions whose result depends on where a window ends."""
    torch.manual_seed(0)
    layers = [
        torch.nn.Conv3d(channels, 4, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Conv3d(4, classes, 3, padding=1),
    ]
    return torch.nn.Sequential(*layers)


def noise(*shape: int) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=shape).astype(np.float32))


def slide(*arguments: Any, **keywords: Any) -> torch.Tensor:
    """All slabs, one after the other along x."""
    return torch.cat([values for _, values in slide_slabs(*arguments, **keywords)], dim=1)


def monai_slide(
    volume: torch.Tensor,
    predict: torch.nn.Module,
    window: Sequence[int],
    overlap: float,
    weights: Weights,
    batch_size: int,
    pad_value: float = 0.0,
) -> torch.Tensor:
    with torch.no_grad():
        batched = sliding_window_inference(
            volume[None], window, batch_size, predict, overlap, weights, padding_mode="constant", cval=pad_value
        )
    assert isinstance(batched, torch.Tensor)
    return batched[0]


@st.composite
def grids(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], float]:
    sizes = st.tuples(st.integers(1, 14), st.integers(1, 9), st.integers(1, 9))
    return draw(sizes), draw(sizes), draw(st.floats(0, 0.95))


@settings(max_examples=50, deadline=None)
@given(grids(), st.sampled_from(["gaussian", "constant"]), st.integers(1, 5))
def test_a_network_that_returns_its_input_gives_the_volume_back(
    grid: tuple[tuple[int, ...], tuple[int, ...], float], weights: Weights, batch_size: int
) -> None:
    size, window, overlap = grid
    volume = noise(2, *size)
    same = slide(volume, lambda batch: batch, window, overlap, weights, batch_size=batch_size)
    torch.testing.assert_close(same, volume)


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.floats(0, 0.999))
def test_windows_cover_every_voxel_of_an_axis_and_only_a_small_volume_is_padded(
    size: int, window: int, overlap: float
) -> None:
    starts = window_starts(size, window, overlap)
    covered = {voxel for start in starts for voxel in range(start, start + window)}
    assert covered >= set(range(size))
    assert starts == sorted(set(starts))
    if size >= window:
        assert covered == set(range(size))
    else:
        before, behind = -starts[0], starts[0] + window - size
        assert len(starts) == 1
        assert behind - before in (0, 1)


@pytest.mark.parametrize("window", [(8, 8, 8), (5, 12, 1), (96, 64, 7)])
@pytest.mark.parametrize("sigma_share", [0.05, 0.125, 0.5])
def test_weights_are_those_of_monai(window: tuple[int, int, int], sigma_share: float) -> None:
    expected = compute_importance_map(window, "gaussian", sigma_share)
    torch.testing.assert_close(window_weights(window, "gaussian", sigma_share), expected, rtol=0, atol=0)


@pytest.mark.parametrize("overlap", [0.0, 0.25, 0.5, 0.625])
@pytest.mark.parametrize(
    ("size", "window"),
    [
        ((24, 16, 16), (8, 8, 8)),
        ((23, 17, 19), (8, 7, 10)),
        ((5, 20, 11), (8, 8, 8)),
        ((20, 9, 6), (8, 9, 9)),
        ((3, 4, 5), (8, 8, 8)),
        ((17, 13, 4), (8, 8, 1)),
    ],
)
def test_the_result_is_that_of_monai(size: tuple[int, ...], window: tuple[int, ...], overlap: float) -> None:
    net, volume = small_net(2), noise(2, *size)
    weights: Weights
    for weights in ("gaussian", "constant"):
        ours = slide(volume, net, window, overlap, weights, batch_size=3, pad_value=-1.5)
        theirs = monai_slide(volume, net, window, overlap, weights, 3, pad_value=-1.5)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)
        assert (ours.argmax(0) == theirs.argmax(0)).double().mean() > 0.999


@pytest.mark.parametrize("channels", [1, 2])
def test_windows_come_with_channels_last_in_memory(channels: int) -> None:
    strides = []

    def predict(batch: torch.Tensor) -> torch.Tensor:
        strides.append(batch.stride())
        return batch

    slide(noise(channels, 12, 10, 9), predict, (6, 5, 4), batch_size=3)
    # Without its last axis, which has one voxel then, such a window is a picture with channels last.
    slide(noise(channels, 12, 10, 9), lambda batch: predict(batch[..., 0])[..., None], (6, 5, 1), batch_size=3)
    assert set(strides) == {
        (120 * channels, 1, 20 * channels, 4 * channels, channels),
        (30 * channels, 1, 5 * channels, channels),
    }


def test_the_batch_size_does_not_change_the_result() -> None:
    net, volume = small_net(), noise(1, 21, 13, 10)
    results = [slide(volume, net, (8, 8, 6), batch_size=size) for size in (1, 2, 5, 1000)]
    for result in results[1:]:
        torch.testing.assert_close(result, results[0], rtol=1e-5, atol=1e-6)


def test_windows_of_one_slice_carry_a_network_of_two_dimensions() -> None:
    torch.manual_seed(0)
    net, volume = torch.nn.Conv2d(1, 2, 3, padding=1), noise(1, 12, 10, 5)
    with torch.no_grad():
        expected = net(volume.permute(3, 0, 1, 2)).permute(1, 2, 3, 0)
    found = slide(volume, lambda batch: net(batch[..., 0])[..., None], (12, 10, 1))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("overlap", [0.0, 0.5, 0.7])
def test_slabs_end_to_end_are_the_whole_and_come_before_the_last_window(overlap: float) -> None:
    net, volume, seen = small_net(), noise(1, 40, 8, 9), []

    def predict(batch: torch.Tensor) -> torch.Tensor:
        seen.append(len(batch))
        return net(batch)

    slabs, seen_at = [], []
    for slab in slide_slabs(volume, predict, (8, 8, 6), overlap, batch_size=2):
        slabs.append(slab)
        seen_at.append(len(seen))
    assert [start for start, _ in slabs] == np.cumsum([0, *(values.shape[1] for _, values in slabs[:-1])]).tolist()
    torch.testing.assert_close(torch.cat([values for _, values in slabs], 1), slide(volume, net, (8, 8, 6), overlap))
    assert seen_at[0] < seen_at[-1] == len(seen)
    assert max(values.shape[1] for _, values in slabs) <= 8


def test_arrays_of_any_number_type_and_memory_order_are_read_window_by_window() -> None:
    counts = np.random.default_rng(0).integers(0, 2000, (1, 12, 10, 9))
    expected = slide(torch.from_numpy(counts).float(), small_net(), (6, 6, 6))
    turned = counts.astype(">i2")[:, ::-1, ::-1].copy()[:, ::-1, ::-1]
    turned.flags.writeable = False
    for volume in (counts.astype(np.int16), counts.astype(np.uint16), counts.astype(np.float64), turned):
        assert torch.equal(slide(volume, small_net(), (6, 6, 6)), expected)
    assert torch.equal(slide(torch.from_numpy(counts.astype(np.int16)), small_net(), (6, 6, 6)), expected)


def test_what_a_network_says_in_half_precision_is_summed_in_single() -> None:
    volume = noise(1, 12, 10, 9)
    found = slide(volume, lambda batch: batch.bfloat16(), (6, 6, 6))
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, volume.bfloat16().float())


def test_the_result_can_be_used_in_place_and_carries_no_gradient() -> None:
    found = slide(noise(1, 9, 9, 9), small_net(), (6, 6, 6))
    assert not found.requires_grad
    assert found.softmax(0).mul_(2).max() <= 2


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"window": (4, 4)}, "window"),
        ({"window": (4, 0, 4)}, "window"),
        ({"overlap": 1.0}, "overlap"),
        ({"overlap": -0.1}, "overlap"),
        ({"batch_size": 0}, "batch size"),
        ({"volume": torch.zeros(8, 8, 8)}, "volume"),
        ({"predict": lambda batch: batch[..., 1:]}, "as large as its window"),
    ],
)
def test_settings_that_mean_no_grid_are_refused_by_name(changed: dict[str, object], said: str) -> None:
    settings: dict[str, object] = {"volume": noise(1, 8, 8, 8), "predict": lambda batch: batch, "window": (4, 4, 4)}
    with pytest.raises(ConfigError, match=said):
        slide(**(settings | changed))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_windows_on_a_gpu_and_the_volume_in_main_memory_give_the_same() -> None:
    net, volume = small_net(), noise(1, 21, 13, 10)
    expected = slide(volume, net, (8, 8, 6))
    found = slide(volume, net.cuda(), (8, 8, 6), device="cuda")
    assert found.device.type == "cuda"
    torch.testing.assert_close(found.to(volume.device), expected, rtol=1e-3, atol=1e-3)
