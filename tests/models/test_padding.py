import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.models.padding import Padding, pad_axis, sizes_after

sizes, kernels, strides = st.integers(1, 12), st.integers(1, 7), st.integers(1, 4)


@pytest.mark.parametrize("padding", ["same", "centered"])
@given(sizes, kernels, strides)
def test_padding_gives_ceil_of_size_over_stride_and_its_odd_part_goes_to_the_far_side(
    padding: Padding, size: int, kernel: int, stride: int
) -> None:
    before, after = pad_axis(padding, size, kernel, stride)
    assert (size + before + after - kernel) // stride + 1 == math.ceil(size / stride)
    assert sizes_after(padding, (size,), (kernel,), (stride,)) == (math.ceil(size / stride),)
    assert after - before in (0, 1)


@given(sizes, kernels, strides)
def test_without_padding_windows_are_counted_that_lie_inside(size: int, kernel: int, stride: int) -> None:
    inside = [start for start in range(0, size, stride) if start + kernel <= size]
    assert sizes_after("valid", (size,), (kernel,), (stride,)) == (len(inside),)
    assert pad_axis("valid", size, kernel, stride) == (0, 0)
