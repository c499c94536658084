import itertools
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from voxray.errors import ScanError
from voxray.patches.foreground import draw_boxes, foreground_counts, grid_boxes, random_boxes, whole_box
from voxray.scans.read import read_region
from voxray.volume import PatchBox, Volume

extents = st.tuples(*[st.integers(1, 14)] * 3)
sizes = st.tuples(*[st.integers(1, 9)] * 3)
Size = tuple[int, int, int]


def mask_of(shape: Size, seed: int, share: float = 0.1) -> np.ndarray:
    """A few blobs of voxels with the labels 1 to 3."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random(shape) < share, rng.integers(1, 4, shape), 0).astype(np.uint8)


def region(mask: np.ndarray, box: PatchBox) -> np.ndarray:
    """The mask inside a box; -1 outside the volume."""
    return read_region(Volume(mask[None].astype(np.int16), np.eye(4)), box, -1)[0]


def legal_starts(shape: Size, size: Size) -> list[Size]:
    axes = [range(n - s + 1) if n >= s else [-((s - n) // 2)] for n, s in zip(shape, size, strict=True)]
    return list(itertools.product(*axes))


@settings(max_examples=80, deadline=None)
@given(extents, sizes, st.integers(0, 5), st.sampled_from([0.0, 0.02, 0.3]), st.sampled_from("CF"))
def test_the_index_counts_the_foreground_of_every_possible_box(
    shape: Size, size: Size, seed: int, share: float, order: str
) -> None:
    mask = np.asarray(mask_of(shape, seed, share), order=order)  # type: ignore[call-overload]
    counts = foreground_counts(mask, size)
    starts = legal_starts(shape, size)
    assert counts.size == len(starts)
    expected = [(region(mask, PatchBox(start, size)) > 0).sum() for start in starts]
    np.testing.assert_array_equal(counts.ravel(), expected)


@settings(max_examples=80, deadline=None)
@given(extents, sizes, st.integers(0, 9), st.floats(0, 0.9), st.integers(1, 6))
def test_drawn_boxes_have_enough_foreground_or_the_most_there_is(
    shape: Size, size: Size, seed: int, min_foreground: float, count: int
) -> None:
    mask = mask_of(shape, seed)
    boxes = draw_boxes(mask, size, count, min_foreground, np.random.default_rng(seed))
    assert len(boxes) == count
    most = foreground_counts(mask, size).max()
    for box in boxes:
        assert box.start in legal_starts(shape, size)
        voxels = region(mask, box)
        found, inside = (voxels > 0).sum(), (voxels >= 0).sum()
        assert found > min_foreground * inside or found == most


def blindly(mask: np.ndarray, size: Size, min_foreground: float, rng: np.random.Generator) -> Size:
    """S3 as it stands: draw, and draw again while too much is background."""
    while True:
        x, y, z = (int(rng.integers(0, n - s + 1)) for n, s in zip(mask.shape, size, strict=True))
        part = mask[x : x + size[0], y : y + size[1], z : z + size[2]]
        if (part == 0).mean() < 1 - min_foreground:
            return x, y, z


def test_the_boxes_are_distributed_as_those_of_drawing_blindly_again_and_again() -> None:
    mask = np.zeros((9, 8, 6), np.uint8)
    mask[2:5, 3:6, 1:4] = 2
    mask[7, 7, 5] = 1
    size, draws = (4, 4, 3), 4000
    rng = np.random.default_rng(5)
    ours = Counter(draw_boxes(mask, size, 1, 0.2, rng)[0].start for _ in range(draws))
    theirs = Counter(blindly(mask, size, 0.2, rng) for _ in range(draws))
    assert set(ours) == set(theirs)
    assert len(ours) > 20
    # Both against the uniform distribution over the places that satisfy the rule.
    assert chisquare(list(ours.values())).pvalue > 0.001
    assert chisquare(list(theirs.values())).pvalue > 0.001


def test_exactly_the_share_is_not_enough_as_in_s3() -> None:
    mask = np.zeros((40, 4, 5), np.uint8)
    mask[0:4, 0, 0] = 1  # boxes that hold all four have 4 / 80 = 5 %
    mask[20:25, 0, 0] = 1
    boxes = draw_boxes(mask, (4, 4, 5), 50, 0.05, np.random.default_rng(0))
    assert all((region(mask, box) > 0).sum() == 4 for box in boxes)
    assert {box.start[0] for box in boxes} == {0, 20, 21}
    mask[25, 0, 0] = mask[22, 1, 0] = 1
    boxes = draw_boxes(mask, (4, 4, 5), 50, 0.05, np.random.default_rng(0))
    assert {box.start[0] for box in boxes} == {20, 21, 22}


def test_boxes_differ_as_long_as_there_are_places_enough() -> None:
    mask = mask_of((12, 12, 4), 0, 0.3)
    places = int((foreground_counts(mask, (8, 8, 4)) > 0.2 * 256).sum())
    boxes = draw_boxes(mask, (8, 8, 4), places, 0.2, np.random.default_rng(0))
    assert len(set(boxes)) == places
    assert len(draw_boxes(mask, (8, 8, 4), places + 3, 0.2, np.random.default_rng(0))) == places + 3


def test_without_foreground_boxes_lie_anywhere() -> None:
    boxes = draw_boxes(np.zeros((5, 4, 3), np.uint8), (4, 4, 2), 600, 0.05, np.random.default_rng(0))
    assert {box.start for box in boxes} == set(legal_starts((5, 4, 3), (4, 4, 2)))


@settings(max_examples=40, deadline=None)
@given(extents, sizes, st.integers(0, 9))
def test_the_same_generator_draws_the_same_boxes(shape: Size, size: Size, seed: int) -> None:
    mask = mask_of(shape, seed)
    first, again = (draw_boxes(mask, size, 4, 0.05, np.random.default_rng(seed)) for _ in range(2))
    assert first == again
    first, again = (random_boxes(shape, size, 4, np.random.default_rng(seed)) for _ in range(2))
    assert first == again
    assert all(box.start in legal_starts(shape, size) for box in first)


def test_random_boxes_reach_every_place_alike() -> None:
    boxes = random_boxes((6, 5, 2), (4, 4, 3), 6000, np.random.default_rng(1))
    found = Counter(box.start for box in boxes)
    assert set(found) == set(legal_starts((6, 5, 2), (4, 4, 3)))
    assert chisquare(list(found.values())).pvalue > 0.001


@settings(max_examples=120, deadline=None)
@given(extents, sizes)
def test_a_grid_covers_every_voxel_and_stays_inside(shape: Size, size: Size) -> None:
    boxes = grid_boxes(shape, size)
    assert len(set(boxes)) == len(boxes)
    seen = np.zeros(shape, int)
    for box in boxes:
        assert box.start in legal_starts(shape, size)
        seen[tuple(slice(max(0, a), a + n) for a, n in zip(box.start, box.size, strict=True))] += 1
    assert seen.min() >= 1


@settings(max_examples=120, deadline=None)
@given(st.integers(1, 60), st.integers(1, 20))
def test_only_the_last_box_of_a_grid_overlaps_and_none_is_needless(extent: int, length: int) -> None:
    starts = [box.start[0] for box in grid_boxes((extent, 1, 1), (length, 1, 1))]
    assert set(np.diff(starts[:-1])) <= {length}
    if len(starts) > 1:
        # The last box but one would not reach the end.
        assert starts[-2] + length < extent


def test_a_whole_volume_lies_in_the_middle_of_its_box() -> None:
    box = whole_box((5, 8, 7), (8, 8, 8), "a")
    assert box == PatchBox((-1, 0, 0), (8, 8, 8))
    assert whole_box((5, 8, 7), (8, 8, 8), "a") == grid_boxes((5, 8, 7), (8, 8, 8))[0]
    with pytest.raises(ScanError, match="does not fit into a patch of 8x8x8 as a whole, got 5x9x7 voxels"):
        whole_box((5, 9, 7), (8, 8, 8), "a")
