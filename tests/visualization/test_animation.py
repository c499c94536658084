"""The cine loop of a scan."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from voxray.visualization import animation
from voxray.visualization.animation import ATTEMPTS, Slices, animate, dashes, displayed_slices, draw_frame


def make_slices(shape: tuple[int, int, int] = (24, 16, 30), spacing: tuple[float, float, float] = (1, 1, 1)) -> Slices:
    truth, prediction = np.zeros((2, *shape), np.uint8)
    truth[4:12, 4:12, 8:20] = 1
    prediction[6:14, 4:12, 10:25] = 1
    image = np.random.default_rng(0).normal(size=shape)
    return Slices(image, truth, prediction, spacing, None)


def decode(uri: str) -> Image.Image:
    kind, content = uri.split(",", 1)
    assert kind == "data:image/webp;base64"
    return Image.open(io.BytesIO(base64.b64decode(content)))


def test_every_labeled_slice_is_displayed_from_inferior_to_superior() -> None:
    assert displayed_slices(make_slices(), 40) == list(range(7, 26))
    thinned = displayed_slices(make_slices(), 6)
    assert len(thinned) <= 6
    assert set(np.diff(thinned)) == {4}


def test_the_loop_moves_and_its_still_does_not() -> None:
    loop, still, frames = animate(make_slices())
    assert decode(loop).n_frames == frames == 19
    assert decode(loop).info["loop"] == 0
    assert getattr(decode(still), "n_frames", 1) == 1
    assert decode(still).size == decode(loop).size


def test_a_loop_that_is_too_large_becomes_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    slices = make_slices()
    large, _, _ = animate(slices)
    monkeypatch.setattr(animation, "MOST_LETTERS", len(large) // 3)
    small, _, _ = animate(slices)
    assert len(small) <= len(large) // 3
    assert max(decode(small).size) in {longest for longest, _, _ in ATTEMPTS}


def test_millimeters_not_voxels_make_the_shape_of_a_frame() -> None:
    assert draw_frame(make_slices(), 9, 128).size == (128, 85)
    assert draw_frame(make_slices(spacing=(1, 3, 1)), 9, 128).size == (64, 128)


def test_the_truth_is_drawn_where_it_ends_and_only_there() -> None:
    slices = make_slices()
    blank = Slices(slices.image, np.zeros_like(slices.truth), np.zeros_like(slices.truth), (1, 1, 1), None)
    differs = np.abs(np.asarray(draw_frame(slices, 8, 240), int) - np.asarray(draw_frame(blank, 8, 240), int)).sum(2)
    # Ten pixels a voxel; columns and lines run against x and y.
    assert differs[[40, 120], 125:195].all()
    assert differs[45:115][:, [120, 199]].all()
    assert not differs[46:114, 126:194].any()
    assert not differs[:34].any()
    red, green, blue = np.asarray(draw_frame(slices, 8, 240))[80, 120].tolist()
    assert red > green > blue


def test_dashes_are_as_long_as_asked_and_follow_the_line() -> None:
    corner = np.array([[0.0, 0.0], [10.0, 0.0], [10.0, 10.0]])
    pieces = dashes(corner, 4, 2)
    lengths = [np.hypot(*np.diff(piece, axis=0).T).sum() for piece in pieces]
    assert lengths == pytest.approx([4, 4, 4, 2])
    assert pieces[1].tolist() == [[6, 0], [10, 0]]
    assert all((piece[:, 1] == 0).all() or (piece[:, 0] == 10).all() for piece in pieces)
