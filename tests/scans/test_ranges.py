import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from voxray.scans.ranges import join_ranges, view_ranges


@st.composite
def views(draw: st.DrawFn) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """An array in memory, and a part of it with its axes in any order and direction."""
    shape = draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    whole = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    turned = whole.transpose(draw(st.permutations(range(len(shape)))))
    spans = []
    for size in turned.shape:
        low, high = sorted(draw(st.lists(st.integers(0, size), min_size=2, max_size=2)))
        spans.append(slice(low, high))
    part = turned[tuple(spans)]
    return whole, part[tuple(slice(None, None, draw(st.sampled_from([1, -1]))) for _ in shape)]


def covered(ranges: NDArray[np.int64]) -> set[int]:
    return {byte for start, end in ranges.tolist() for byte in range(start, end)}


def shown(whole: NDArray[np.int16], part: NDArray[np.int16]) -> set[int]:
    """Bytes of a part, by the numbers that its elements have: they count the array's elements."""
    return {2 * int(number) + byte for number in part.ravel() for byte in (0, 1)}


def first_of(whole: NDArray[np.int16]) -> int:
    return int(whole.__array_interface__["data"][0])


@given(views())
def test_the_ranges_of_a_view_are_its_bytes_and_no_others(both: tuple[NDArray[np.int16], NDArray[np.int16]]) -> None:
    whole, part = both
    ranges = view_ranges(part, first_of(whole))
    assert covered(ranges) == shown(whole, part)
    assert (ranges[:, 1] - ranges[:, 0]).sum() == part.nbytes  # none twice
    assert (np.diff(ranges[:, 0]) > 0).all()


RANGES = st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)).map(lambda each: (each[0], sum(each))), max_size=12)


@given(RANGES, st.integers(0, 8))
def test_joined_ranges_cover_the_same_bytes_and_the_small_gaps_between(pairs: list[tuple[int, int]], gap: int) -> None:
    ranges = np.array(pairs, np.int64).reshape(-1, 2)
    joined = join_ranges(ranges, gap)
    wanted = covered(ranges)
    expected = set(wanted)
    for byte in range(70):
        before = [each for each in wanted if each < byte]
        after = [each for each in wanted if each > byte]
        if before and after and min(after) - max(before) - 1 <= gap:
            expected.add(byte)
    assert covered(joined) == expected
    assert (joined[1:, 0] - joined[:-1, 1] > gap).all()  # no two could be put together


def test_the_lines_of_a_patch_become_a_range_for_each_slice() -> None:
    scan = np.zeros((30, 512, 512), np.int16)
    patch = scan.transpose(2, 1, 0)[100:164, 200:264, 5:15]
    ranges = view_ranges(patch, first_of(scan))
    assert len(ranges) == 64 * 10
    joined = join_ranges(ranges, 2**16)
    assert len(joined) == 10
    assert (joined[:, 1] - joined[:, 0] == 63 * 1024 + 128).all()
