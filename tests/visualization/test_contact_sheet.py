"""All slices of a scan in one picture."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from voxray.visualization import contact_sheet
from voxray.visualization.animation import Slices
from voxray.visualization.contact_sheet import MOST_TILES, choose_columns, make_sheet


def make_slices(image: np.ndarray) -> Slices:
    empty = np.zeros(image.shape, np.uint8)
    return Slices(image, empty, empty, (1.0, 1.0, 3.0), (0.0, 1.0))


def pixels_of(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("L"), float)


def test_every_slice_is_there_once_from_inferior_to_superior() -> None:
    image = np.zeros((12, 12, 23)) + np.linspace(0.15, 1, 23)
    sheet = make_sheet(make_slices(image))
    assert [tile.z for tile in sheet.tiles] == list(range(23))
    pixels = pixels_of(sheet.uri)
    assert pixels.shape == (sheet.height, sheet.width)
    middles = [pixels[tile.top + sheet.tile_height // 2, tile.left + sheet.tile_width // 2] for tile in sheet.tiles]
    assert np.diff(middles).min() > 0


def test_a_voxel_is_displayed_at_its_position() -> None:
    image = np.zeros((40, 30, 9))
    image[8:33, 5:27] = 0.4
    image[29:32, 7:10, 6] = 1
    sheet = make_sheet(make_slices(image))
    across, up = sheet.box
    assert (across.start, across.stop, up.start, up.stop) == (6, 35, 3, 29)  # dark borders are left out
    pixels = pixels_of(sheet.uri)
    x, y = sheet.position(sheet.tiles[6], 30, 8)
    assert pixels[round(y), round(x)] > 230
    assert (pixels > 200)[: sheet.tile_height].mean() < 0.2


def test_a_dark_scan_is_displayed_whole() -> None:
    assert make_sheet(make_slices(np.zeros((7, 5, 4)))).box == (slice(0, 7), slice(0, 5))


def test_labels_are_not_cut_off() -> None:
    slices = make_slices(np.zeros((20, 20, 5)))
    slices.image[8:12, 8:12] = 1
    slices.prediction[1, 18, 2] = 1
    across, up = make_sheet(slices).box
    assert across.start <= 1 < across.stop
    assert up.start <= 18 < up.stop


def test_very_many_slices_are_thinned_evenly_and_kept_small(monkeypatch: pytest.MonkeyPatch) -> None:
    sheet = make_sheet(make_slices(np.random.default_rng(0).random((16, 16, 400))))
    assert sheet.step == 3
    assert len(sheet.tiles) <= MOST_TILES
    assert set(np.diff([tile.z for tile in sheet.tiles])) == {3}
    monkeypatch.setattr(contact_sheet, "MOST_BYTES", len(sheet.uri) // 3)
    assert len(make_sheet(make_slices(np.random.default_rng(0).random((16, 16, 400)))).uri) < len(sheet.uri)


@pytest.mark.parametrize(("tiles", "columns"), [(2, 2), (6, 6), (8, 4), (24, 6), (53, 9), (155, 16)])
def test_lines_of_a_sheet_are_of_about_equal_length(tiles: int, columns: int) -> None:
    assert choose_columns(tiles) == columns
