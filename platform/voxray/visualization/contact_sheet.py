"""All slices of a scan in one picture."""

import io
import math
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from voxray.visualization.animation import Slices, draw_tile
from voxray.visualization.data_uri import data_uri
from voxray.visualization.overlay import display_range

MOST_TILES = 160
SHEET_PIXELS = 1560  # width, about
LONGEST_TILE = 260
MOST_COLUMNS = 16
GAP = 3
SEARCHED_SLICES = 40  # for the part that is not dark
DARK, MARGIN = 0.12, 0.03  # shares of the gray levels and of the size
# WebP quality; the first that is small enough is used.
QUALITIES = (78, 60, 45, 30, 15)
MOST_BYTES = 450_000


@dataclass(frozen=True)
class Tile:
    """One slice of a sheet: its index, and its left upper corner in pixels of the sheet."""

    z: int
    left: int
    top: int


@dataclass(frozen=True)
class Sheet:
    """A picture of tiles, a WebP as a data URI, from inferior to superior; `step` slices apart. Sizes are pixels.

    The tiles display `box` of the scan, x and y.
    """

    uri: str
    width: int
    height: int
    tile_width: int
    tile_height: int
    step: int
    tiles: tuple[Tile, ...]
    box: tuple[slice, slice]

    def position(self, tile: Tile, x: float, y: float) -> tuple[float, float]:
        """Pixel (across, down) of a voxel on a tile. In the radiological view both axes run against the index."""
        across, up = self.box
        left = tile.left + (across.stop - 0.5 - x) / (across.stop - across.start) * self.tile_width
        return left, tile.top + (up.stop - 0.5 - y) / (up.stop - up.start) * self.tile_height


def make_sheet(slices: Slices) -> Sheet:
    """Draw all axial slices with their contours side by side; evenly spaced ones where there are more than 160.

    Dark borders that all slices share are left out.
    """
    box = body_box(slices)
    slices = replace(slices, image=slices.image[box], truth=slices.truth[box], prediction=slices.prediction[box])
    depth = slices.image.shape[2]
    step = -(-depth // MOST_TILES)
    shown = range((depth - 1) % step // 2, depth, step)
    columns = choose_columns(len(shown))
    longest = min(LONGEST_TILE, SHEET_PIXELS // columns - GAP)
    pictures = [draw_tile(slices, z, longest) for z in shown]
    width, height = pictures[0].size
    lines = -(-len(shown) // columns)
    size = (columns * (width + GAP) - GAP, lines * (height + GAP) - GAP)
    sheet = Image.new("RGB", size, "#ffffff")
    tiles = []
    for number, (z, picture) in enumerate(zip(shown, pictures, strict=True)):
        line, column = divmod(number, columns)
        tiles.append(Tile(z, column * (width + GAP), line * (height + GAP)))
        sheet.paste(picture, (tiles[-1].left, tiles[-1].top))
    return Sheet(_encode(sheet), *size, width, height, step, tuple(tiles), box)


def body_box(slices: Slices) -> tuple[slice, slice]:
    """The part in plane, x and y, that is not dark in every slice, with a margin; all of it where all is dark."""
    low, high = display_range(slices.image, slices.window)
    step = -(-slices.image.shape[2] // SEARCHED_SLICES)
    highest = slices.image[..., ::step].max(axis=2).astype(np.float64)
    bright = (highest > low + DARK * (high - low)) | slices.truth.any(2) | slices.prediction.any(2)
    spans = []
    for axis, size in enumerate(bright.shape):
        found = np.flatnonzero(bright.any(1 - axis))
        first, last = (int(found[0]), int(found[-1])) if len(found) else (0, size)
        margin = round(MARGIN * (last - first)) + 1
        spans.append(slice(max(0, first - margin), min(size, last + margin + 1)))
    return spans[0], spans[1]


def choose_columns(tiles: int) -> int:
    """Columns of a sheet that is about twice as wide as high, with lines of about equal length."""
    columns = min(MOST_COLUMNS, max(6, math.ceil(math.sqrt(1.7 * tiles))), tiles)
    lines = -(-tiles // columns)
    return -(-tiles // lines)


def _encode(sheet: Image.Image) -> str:
    content = b""
    for quality in QUALITIES:
        sink = io.BytesIO()
        sheet.save(sink, "WEBP", quality=quality, method=2)
        content = sink.getvalue()
        if len(content) <= MOST_BYTES:
            break
    return data_uri("webp", content)
