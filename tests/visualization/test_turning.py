"""A scan that turns."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from voxray.visualization import turning
from voxray.visualization.turning import FRAMES, balls, can_turn, label_surfaces, render_turning

SHAPE, SPACING = (40, 40, 20), (1.0, 1.0, 2.0)
RED, BLUE = "#ff0000", "#0000ff"


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(turning, "PIXELS", {1: 80, 2: 80})


def frames_of(uri: str) -> list[np.ndarray]:
    kind, content = uri.split(",", 1)
    assert kind == "data:image/webp;base64"
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    frames = []
    for number in range(getattr(picture, "n_frames", 1)):
        picture.seek(number)
        frames.append(np.asarray(picture.convert("RGB"), float))
    return frames


def place_of(mask: np.ndarray) -> tuple[float, float]:
    lines, columns = np.nonzero(mask)
    assert len(lines)
    return float(lines.mean()), float(columns.mean())


def is_red(frame: np.ndarray) -> np.ndarray:
    return frame[..., 0] - frame[..., 2] > 60


def is_blue(frame: np.ndarray) -> np.ndarray:
    return frame[..., 2] - frame[..., 0] > 60


def test_a_turn_has_all_frames_and_its_still_is_one_picture() -> None:
    channel = np.random.default_rng(0).normal(size=SHAPE)
    loop, still = render_turning(channel, SPACING, [[]])
    assert len(frames_of(loop)) == FRAMES
    assert len(frames_of(still)) == 1
    assert frames_of(loop)[0].shape == frames_of(still)[0].shape == (80, 80, 3)
    assert frames_of(render_turning(channel, SPACING, [[], []])[0])[0].shape == (80, 160, 3)


def test_the_patients_right_is_on_the_left_and_superior_is_up_at_first() -> None:
    channel = np.zeros(SHAPE)
    channel[30:34, 18:22, 15:17] = 1  # RAS: right and superior
    frames = frames_of(render_turning(channel, SPACING, [[]])[0])
    line, column = place_of(frames[0][..., 0] > 128)
    assert line == pytest.approx(80 - 80 * 32 / 40, abs=2)
    assert column == pytest.approx(80 - 80 * 32 / 40, abs=2)
    assert place_of(frames[FRAMES // 2][..., 0] > 128)[1] == pytest.approx(80 * 32 / 40, abs=2)


def test_a_ball_is_where_its_voxel_is_from_every_side() -> None:
    channel = np.zeros(SHAPE)
    channel[29:31, 9:11, 4:6] = 1
    center = (np.array([[30, 10, 5]]) - np.array(SHAPE) / 2) * SPACING
    plain = frames_of(render_turning(channel, SPACING, [[]])[0])
    marked = frames_of(render_turning(channel, SPACING, [[balls(center, 2.5, [RED])]])[0])
    for bare, frame in zip(plain, marked, strict=True):
        assert place_of(is_red(frame)) == pytest.approx(place_of(bare[..., 0] > 100), abs=2)


def test_what_is_nearer_covers_what_is_farther() -> None:
    front, back = np.array([0.0, 10, 0]), np.array([0.0, -10, 0])  # anterior and posterior
    both = [balls(np.stack([front, back]), 5, [RED, BLUE])]
    frames = frames_of(render_turning(np.zeros(SHAPE), SPACING, [both])[0])
    assert is_red(frames[0]).any()
    assert not is_blue(frames[0]).any()
    assert is_blue(frames[FRAMES // 2]).any()
    assert not is_red(frames[FRAMES // 2]).any()


def test_the_surface_of_a_label_lies_on_its_block() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:12, 6:30, 8:16] = 1
    labels[20:30, 20:30, 2:8] = 2
    surfaces = label_surfaces(labels, SPACING, [RED, BLUE])
    assert len(surfaces) == 2
    for label, surface in enumerate(surfaces, 1):
        block = np.argwhere(labels == label)
        low = (block.min(0) - np.array(SHAPE) / 2) * SPACING
        high = (block.max(0) + 1 - np.array(SHAPE) / 2) * SPACING
        assert np.abs(surface.points.min(0) - low).max() < 1.5
        assert np.abs(surface.points.max(0) - high).max() < 1.5
        outwards = surface.points - (low + high) / 2
        assert ((outwards * surface.normals).sum(1) > 0).mean() > 0.95


def test_a_single_voxel_has_a_surface_and_nothing_has_none() -> None:
    labels = np.zeros(SHAPE, np.uint8)
    assert label_surfaces(labels, SPACING, [RED]) == []
    labels[0, 39, 19] = 1
    (surface,) = label_surfaces(labels, SPACING, [RED])
    assert len(surface.points)
    assert np.isfinite(surface.normals).all()


def test_voxels_that_are_no_numbers_and_empty_scans_are_drawn() -> None:
    channel = np.zeros(SHAPE, np.float32)
    assert len(frames_of(render_turning(channel, SPACING, [[]])[0])) >= 1
    channel[3] = np.nan
    channel[20, 20, 10] = 5
    assert frames_of(render_turning(channel, SPACING, [[]])[0])[0].max() > 0


def test_a_flat_scan_is_not_turned() -> None:
    assert can_turn(SHAPE)
    assert not can_turn((512, 512, 1))
    assert not can_turn((44, 44, 6))
