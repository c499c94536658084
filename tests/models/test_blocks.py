import numpy as np
import pytest
import torch
from scipy.ndimage import maximum_filter, uniform_filter

from voxray.models.blocks import PaddedConvolution, PaddedPooling
from voxray.models.padding import pad_axis


@pytest.mark.parametrize(("size", "kernel"), [((6, 7), (3, 2)), ((5, 4, 6), (2, 3, 5))])
def test_pooling_agrees_with_scipy_on_windows_that_reach_over_the_border(
    size: tuple[int, ...], kernel: tuple[int, ...]
) -> None:
    image = np.random.default_rng(0).normal(size=size).astype(np.float32) - 5
    stride = (1,) * len(size)
    pairs = [pad_axis("same", *axis) for axis in zip(size, kernel, stride, strict=True)]
    # SciPy centers an even window one to the left of ours: SAME puts the odd padding on the far side.
    origin = [-1 if extent % 2 == 0 else 0 for extent in kernel]
    tensor = torch.from_numpy(image)[None, None]
    largest = maximum_filter(image, kernel, mode="constant", cval=-np.inf, origin=origin)
    np.testing.assert_array_equal(PaddedPooling("max", size, kernel, stride, pairs)(tensor)[0, 0], largest)
    sums = uniform_filter(image.astype(float), kernel, mode="constant", origin=origin)
    inside = uniform_filter(np.ones(size), kernel, mode="constant", origin=origin)
    np.testing.assert_allclose(
        PaddedPooling("avg", size, kernel, stride, pairs)(tensor)[0, 0], sums / inside, rtol=1e-5
    )


@pytest.mark.parametrize("channels", [2, 4, 15, 16])
def test_a_thin_convolution_with_a_stride_and_few_channels_trains_channels_last(channels: int) -> None:
    # PyTorch 2.13's own crashes the process here, for fewer than 16 channels.
    ours = PaddedConvolution(channels, 8, (1, 1), (2, 3), [(0, 0), (0, 0)]).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    plain = torch.nn.Conv2d(channels, 8, 1, (2, 3))
    plain.load_state_dict(ours.convolution.state_dict())
    for _ in range(4):
        images = torch.rand(8, channels, 121, 95)
        expected = plain(images)
        result = ours(images.contiguous(memory_format=torch.channels_last))
        torch.testing.assert_close(result, expected)
        direction = torch.rand_like(expected)
        gradients = [
            torch.autograd.grad(output, module.parameters(), direction)
            for output, module in ((result, ours), (expected, plain))
        ]
        torch.testing.assert_close(*gradients, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    ("sizes", "kernel", "stride"),
    [
        ((2, 2, 2), (3, 3, 3), (1, 1, 1)),
        ((2, 5, 3), (3, 3, 3), (1, 1, 1)),
        ((3, 1, 4), (3, 3, 3), (2, 2, 2)),
        ((4, 4, 4), (5, 5, 5), (1, 1, 1)),
        ((4, 1), (3, 3), (2, 2)),
        ((6, 6, 6), (3, 3, 3), (2, 2, 2)),
    ],
)
def test_gradients_in_bfloat16_are_those_in_float32_also_of_maps_smaller_than_the_kernel(
    sizes: tuple[int, ...], kernel: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    pairs = [(size // 2, size // 2) for size in kernel]
    layer = PaddedConvolution(32, 32, kernel, stride, pairs, bias=False)
    maps = torch.randn(2, 32, *sizes)
    gradients = []
    for half in (False, True, True, True):
        layer.zero_grad()
        # What is freed here is what a kernel finds in memory that it does not write.
        dirt = [torch.full((2**power,), float("nan")) for power in range(4, 23)]
        del dirt
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            result = layer(maps)
        assert result.dtype == (torch.bfloat16 if half else torch.float32)
        result.float().sin().sum().backward()  # type: ignore[no-untyped-call]
        gradients.append(layer.convolution.weight.grad.clone())  # type: ignore[union-attr,operator]
    for gradient in gradients[1:]:
        assert torch.linalg.norm(gradient - gradients[0]) < 0.05 * torch.linalg.norm(gradients[0])
