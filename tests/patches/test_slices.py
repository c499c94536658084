import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from voxray.errors import ScanError
from voxray.patches.slices import slice_boxes
from voxray.volume import PatchBox

depths, counts = st.integers(1, 40), st.integers(1, 20)


def planes(depth: int, count: int, touched: list[int] | None) -> list[int]:
    """Planes that are taken of a volume of which these are touched; checks all that does not depend on them."""
    region = None
    if touched is not None:
        region = np.zeros((6, 4, depth), np.uint8)
        region[3, 1, touched] = 2
    boxes = slice_boxes((6, 4, depth), (4, 8, 1), count, region)
    good = [box for box in boxes if isinstance(box, PatchBox)]
    assert len(boxes) == count
    assert boxes[: len(good)] == good
    assert all(box.size == (4, 8, 1) and box.start[:2] == (1, -2) for box in good)
    return [box.start[2] for box in good]


@given(depths, counts, st.data())
def test_as_many_different_slices_as_there_are_in_the_order_of_z(depth: int, count: int, data: st.DataObject) -> None:
    touched = data.draw(st.none() | st.lists(st.integers(0, depth - 1), unique=True))
    found = planes(depth, count, touched)
    assert len(found) == min(depth, count)
    assert found == sorted(set(found))
    assert set(found) <= set(range(depth))


@given(depths, counts, st.data())
def test_slices_are_spread_evenly_over_those_that_the_region_touches(
    depth: int, count: int, data: st.DataObject
) -> None:
    touched = data.draw(st.lists(st.integers(0, depth - 1), unique=True, min_size=1))
    found = planes(depth, count, touched)
    if len(touched) >= count:
        assert set(found) <= set(touched)
        ranks = np.searchsorted(sorted(touched), found)
        # No run of the region is longer than another by more than one slice.
        assert np.ptp(np.diff(ranks)) <= 1 if count > 1 else ranks[0] == len(touched) // 2
    elif depth >= count:
        np.testing.assert_array_equal(np.diff(found), 1)
        if max(touched) - min(touched) < count:
            assert set(touched) <= set(found)


def test_every_slice_of_a_region_is_taken_where_it_has_as_many() -> None:
    assert planes(20, 4, [3, 4, 9, 12]) == [3, 4, 9, 12]
    assert planes(20, 1, [3, 4, 9, 12, 13]) == [9]
    assert planes(20, 3, list(range(5, 14))) == [6, 9, 12]


def test_without_a_region_or_with_nothing_in_it_the_middle_is_taken() -> None:
    assert planes(9, 3, None) == planes(9, 3, []) == [3, 4, 5]
    assert planes(155, 4, None) == [75, 76, 77, 78]


def test_a_small_region_near_the_end_is_filled_up_with_its_neighbors() -> None:
    assert planes(10, 4, [9]) == [6, 7, 8, 9]
    assert planes(10, 4, [0, 1]) == [0, 1, 2, 3]
    assert planes(10, 4, [4, 5]) == [3, 4, 5, 6]


def test_slices_that_the_scan_has_not_are_named() -> None:
    boxes = slice_boxes((6, 6, 2), (6, 6, 1), 4, None)
    errors = [box for box in boxes if isinstance(box, ScanError)]
    assert len(errors) == 2
    with pytest.raises(ScanError, match=r"expected 4 slices or more for patches\.patches_per_scan, got 2"):
        raise errors[0]
