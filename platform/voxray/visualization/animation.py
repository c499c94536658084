"""A cine loop of the axial slices of a scan with ground truth and prediction: one small WebP file."""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from voxray.visualization.data_uri import data_uri
from voxray.visualization.overlay import (
    AXIAL,
    Points,
    display_range,
    foreground_span,
    lighter,
    outlines,
    take_plane,
    to_gray,
)
from voxray.visualization.style import class_color

MOST_LETTERS = 300_000  # of a data URI
# Longest side in pixels, WebP quality and frames; the first that is small enough is used.
ATTEMPTS = ((384, 80, 40), (384, 60, 40), (320, 50, 40), (256, 45, 32), (192, 40, 24), (128, 30, 16))
FRAME_MS, LAST_MS = 140, 700
TINT = 0.5
SCALE = 2  # Lines are drawn on a finer grid and averaged, for anti-aliasing.
DASH, GAP = 7.0, 5.0
HALO = "#303030"  # around light lines, for contrast on bright tissue


@dataclass(frozen=True, eq=False)
class Slices:
    """The slices of a loop: arrays (x, y, z), and the intensities of black and white (None: percentiles)."""

    image: NDArray[np.generic]
    truth: NDArray[np.uint8]
    prediction: NDArray[np.uint8]
    spacing_mm: tuple[float, float, float]
    window: tuple[float, float] | None


def displayed_slices(slices: Slices, limit: int) -> list[int]:
    """Axial slices from inferior to superior: the labeled ones and one beyond each end, at most `limit`."""
    start, end = foreground_span((slices.truth, slices.prediction), 2)
    start, end = max(0, start - 1), min(slices.image.shape[2], end + 1)
    return list(range(start, end, -(-(end - start) // limit)))


def animate(slices: Slices) -> tuple[str, str, int]:
    """The loop as an animated WebP of at most 300 kB, a still of its middle frame for print, and the number of frames.

    Both pictures are data URIs.
    """
    loop = b""
    for longest, quality, limit in ATTEMPTS:
        frames = [draw_frame(slices, z, longest) for z in displayed_slices(slices, limit)]
        loop = _encode(frames, quality)
        if len(loop) * 4 / 3 + 30 <= MOST_LETTERS:
            break
    still = _encode(frames[len(frames) // 2 : len(frames) // 2 + 1], 85)
    return _uri(loop), _uri(still), len(frames)


def draw_frame(slices: Slices, z: int, longest: int) -> Image.Image:
    """One slice with contours, its longer side `longest` pixels, and a marker of its level at the right edge."""
    frame = _draw_slice(slices, z, longest, 2)
    _draw_level(ImageDraw.Draw(frame), frame.size, (z + 0.5) / slices.image.shape[2])
    return frame.reduce(SCALE)


def draw_tile(slices: Slices, z: int, longest: int) -> Image.Image:
    """One slice with thin contours, its longer side `longest` pixels."""
    return _draw_slice(slices, z, longest, 1).reduce(SCALE)


def _draw_slice(slices: Slices, z: int, longest: int, line_width: int) -> Image.Image:
    """A slice with contours, `SCALE` times as large."""
    low, high = display_range(slices.image, slices.window)
    gray = to_gray(take_plane(slices.image, AXIAL, z), low, high)
    lines, columns = gray.shape
    across_mm, up_mm = columns * slices.spacing_mm[AXIAL.across], lines * slices.spacing_mm[AXIAL.up]
    scale = longest / max(across_mm, up_mm)
    size = (SCALE * max(1, round(across_mm * scale)), SCALE * max(1, round(up_mm * scale)))
    frame = Image.fromarray(np.ascontiguousarray(gray)).resize(size, Image.Resampling.BICUBIC).convert("RGB")
    pen = ImageDraw.Draw(frame)
    per_pixel = np.array([size[0] / columns, size[1] / lines])
    truth, prediction = (take_plane(labels, AXIAL, z) for labels in (slices.truth, slices.prediction))
    for label in range(1, 1 + int(truth.max(initial=0))):
        for line in outlines(truth == label):
            points = (line * per_pixel).ravel().tolist()
            pen.line(points, fill=class_color(label), width=line_width * SCALE, joint="curve")
    for label in range(1, 1 + int(prediction.max(initial=0))):
        for line in outlines(prediction == label):
            pieces = dashes(line * per_pixel, DASH * SCALE, GAP * SCALE)
            for color, width in ((HALO, 2 * line_width), (lighter(class_color(label), TINT), line_width)):
                for piece in pieces:
                    pen.line(piece.ravel().tolist(), fill=color, width=width * SCALE, joint="curve")
    return frame


def dashes(line: Points, dash: float, gap: float) -> list[Points]:
    """Dashes of a line, each `dash` long and `gap` apart."""
    along = np.concatenate([[0.0], np.cumsum(np.hypot(*np.diff(line, axis=0).T))])
    pieces = []
    for start in np.arange(0, along[-1], dash + gap):
        end = min(start + dash, along[-1])
        inner = along[(along > start) & (along < end)]
        stops = np.concatenate([[start], inner, [end]])
        pieces.append(np.stack([np.interp(stops, along, line[:, axis]) for axis in (0, 1)], axis=1))
    return pieces


def _draw_level(pen: ImageDraw.ImageDraw, size: tuple[int, int], share: float) -> None:
    """A rail at the right edge, inferior at its lower end, and a marker on it."""
    width, height = size
    x, low, high = width - 5 * SCALE, height - 8 * SCALE, 8 * SCALE
    level = low - share * (low - high)
    pen.line([(x, low), (x, high)], fill="#707070", width=SCALE)
    pen.rectangle([x - 2 * SCALE, level - 2 * SCALE, x + 2 * SCALE, level + 2 * SCALE], fill="#ffffff")


def _encode(frames: list[Image.Image], quality: int) -> bytes:
    sink = io.BytesIO()
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    options = {"save_all": True, "append_images": frames[1:], "duration": times, "loop": 0} if len(frames) > 1 else {}
    frames[0].save(sink, "WEBP", quality=quality, method=4, **options)
    return sink.getvalue()


def _uri(content: bytes) -> str:
    return data_uri("webp", content)
