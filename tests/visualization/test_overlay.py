"""Positions of contours, and orientation of planes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from voxray.visualization.overlay import PLANES, PlaneAxes, center_of, crop_box, lighter, outlines, take_plane, to_gray

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 7), st.integers(1, 7)))


@given(mask=MASKS)
def test_outlines_lie_exactly_where_labels_differ(mask: np.ndarray) -> None:
    framed = np.pad(mask, 1)
    # Centers of the edges between two pixels that differ, as (column, line) of the picture.
    beside = {(x, y - 0.5) for y, x in np.argwhere(framed[:, 1:] != framed[:, :-1]).tolist()}
    below = {(x - 0.5, y) for y, x in np.argwhere(framed[1:] != framed[:-1]).tolist()}
    points = [tuple(point) for line in outlines(mask) for point in line[:-1].tolist()]
    assert set(points) == beside | below
    assert len(points) == len(set(points))
    assert all((line[0] == line[-1]).all() for line in outlines(mask))


@pytest.mark.parametrize("plane", PLANES, ids=lambda plane: plane.name)
def test_what_is_right_anterior_and_superior_is_at_the_left_and_top(plane: PlaneAxes) -> None:
    volume = np.zeros((3, 4, 5))
    volume[-1, -1, -1] = 1
    shown = take_plane(volume, plane, volume.shape[plane.cut] - 1)
    assert shown.shape == (volume.shape[plane.up], volume.shape[plane.across])
    assert shown[0, 0] == 1
    assert {"R": 0, "A": 1, "S": 2}[plane.left] == plane.across
    assert {"R": 0, "A": 1, "S": 2}[plane.top] == plane.up


def test_the_planes_meet_in_the_truth_or_else_the_prediction_or_else_the_middle() -> None:
    truth, prediction, nothing = np.zeros((3, 9, 9, 9), np.uint8)
    truth[2:5, 4:7, 1:2] = 1
    prediction[7, 7, 7] = 2
    assert center_of(truth, prediction) == (3, 5, 1)
    assert center_of(nothing, prediction) == (7, 7, 7)
    assert center_of(nothing, nothing) == (4, 4, 4)


@given(
    voxels=st.lists(st.tuples(st.integers(0, 89), st.integers(0, 39), st.integers(0, 19)), min_size=1, max_size=4),
    spacing=st.tuples(*[st.floats(0.3, 6)] * 3),
)
def test_the_foreground_is_displayed_with_a_margin_inside_the_scan(
    voxels: list[tuple[int, int, int]], spacing: tuple[float, float, float]
) -> None:
    labels = np.zeros((90, 40, 20), np.uint8)
    labels[tuple(np.array(voxels).T)] = 1
    box = crop_box((labels, np.zeros_like(labels)), spacing)
    assert labels[box].sum() == labels.sum()
    for axis, (part, size) in enumerate(zip(box, labels.shape, strict=True)):
        assert 0 <= part.start < part.stop <= size
        near = min(voxel[axis] for voxel in voxels) - part.start
        assert part.start == 0 or near * spacing[axis] >= 25 - spacing[axis]


def test_gray_runs_from_black_to_white_and_no_further() -> None:
    assert to_gray(np.array([-9.0, 10.0, 20.0, 30.0, 99.0, np.nan]), 10, 30).tolist() == [0, 0, 128, 255, 255, 0]
    assert to_gray(np.array([5, 5]), 5, 5).tolist() == [0, 0]


def test_a_lighter_color_is_on_the_way_to_white() -> None:
    assert lighter("#e69f00", 0) == "#e69f00"
    assert lighter("#000000", 0.5) == "#808080"
    assert lighter("#e69f00", 1) == "#ffffff"
