"""Pictures of points in a scan: three planes through one of them, and all axial slices."""

import io
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from voxray.scans.geometry import world_to_voxel
from voxray.scans.read import read_region
from voxray.visualization.data_uri import data_uri
from voxray.visualization.overlay import PLANES, PlaneAxes, take_plane
from voxray.visualization.style import SOFTWARE
from voxray.volume import PatchBox, Volume

LUNG_WINDOW_HU = (-1200.0, 600.0)
WIDTH_MM = 70.0  # of the planes through a point
SIDE = 260  # pixels of each
LONGEST = 320  # pixels of an axial slice
JPEG_QUALITY = 60
SMALLEST_CIRCLE_MM = 8.0
CIRCLE, TEXT = "#e69f00", "#f2d8a0"

Pixels = NDArray[np.uint8]


def point_picture(
    volume: Volume, center_mm: NDArray[np.float64], diameter_mm: float, window: tuple[float, float]
) -> bytes:
    """The axial, coronal and sagittal plane through a point, with a circle around it, as a PNG file.

    Parameters
    ----------
    volume : Volume
        In canonical axes; the first channel is drawn.
    center_mm : ndarray, (3,)
        World RAS.
    diameter_mm : float
        Of the circle; NaN for one of 8 mm.
    window : (float, float)
        Intensities that are drawn black and white.
    """
    center = world_to_voxel(volume.affine, center_mm[None])[0]
    picture = Image.new("L", (SIDE * len(PLANES), SIDE)).convert("RGB")
    for number, plane in enumerate(PLANES):
        picture.paste(_plane(volume, plane, center, diameter_mm, window), (SIDE * number, 0))
    sink = io.BytesIO()
    text = PngInfo()
    text.add_text("Software", SOFTWARE)
    picture.save(sink, format="PNG", optimize=True, pnginfo=text)
    return sink.getvalue()


def slice_pictures(volume: Volume, window: tuple[float, float]) -> Iterator[str]:
    """All axial slices of a volume in canonical axes, from below, as data URIs of JPEG files with square pixels."""
    x, y, _ = volume.shape
    width, height = np.multiply((x, y), volume.spacing_mm[:2])
    size = tuple(max(1, round(float(LONGEST * extent / max(width, height)))) for extent in (width, height))
    for z in range(volume.shape[2]):
        gray = Image.fromarray(_gray(take_plane(volume.array[0], PLANES[0], z), window))
        sink = io.BytesIO()
        gray.resize((size[0], size[1]), Image.Resampling.BILINEAR).save(sink, format="JPEG", quality=JPEG_QUALITY)
        yield data_uri("jpeg", sink.getvalue())


def _plane(
    volume: Volume, plane: PlaneAxes, center: NDArray[np.float64], diameter_mm: float, window: tuple[float, float]
) -> Image.Image:
    spacing = np.array(volume.spacing_mm)[[plane.across, plane.up]]
    half = WIDTH_MM / 2 / spacing
    axes = (plane.across, plane.up)
    starts = [round(float(center[axis] - width)) for axis, width in zip(axes, half, strict=True)]
    counts = [max(1, round(float(2 * width))) for width in half]
    start, size = [0, 0, 0], [1, 1, 1]
    start[plane.cut] = int(np.clip(round(float(center[plane.cut])), 0, volume.shape[plane.cut] - 1))
    for axis, low, count in zip(axes, starts, counts, strict=True):
        start[axis], size[axis] = low, count
    box = PatchBox((start[0], start[1], start[2]), (size[0], size[1], size[2]))
    outside = 0.0 if volume.array.dtype.kind == "u" else window[0]
    patch = read_region(volume, box, outside)[0].squeeze(plane.cut)
    image = Image.fromarray(_gray(patch[::-1, ::-1].T, window)).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    image = image.convert("RGB")
    draw = ImageDraw.Draw(image)
    shown = SMALLEST_CIRCLE_MM if np.isnan(diameter_mm) else max(diameter_mm, SMALLEST_CIRCLE_MM)
    radius = 0.75 * shown * SIDE / WIDTH_MM
    middle = [
        SIDE * (1 - (center[axis] - low + 0.5) / count) for axis, low, count in zip(axes, starts, counts, strict=True)
    ]
    draw.ellipse(
        (middle[0] - radius, middle[1] - radius, middle[0] + radius, middle[1] + radius), outline=CIRCLE, width=2
    )
    font = ImageFont.load_default(15)
    for text, place, anchor in (
        (plane.name, (SIDE - 6, SIDE - 6), "rs"),
        (plane.left, (6, SIDE // 2), "lm"),
        (plane.top, (SIDE // 2, 6), "mt"),
    ):
        draw.text(place, text, fill=TEXT, font=font, anchor=anchor)
    return image


def _gray(plane: NDArray[np.generic], window: tuple[float, float]) -> Pixels:
    scaled = (np.asarray(plane, np.float32) - window[0]) / (window[1] - window[0])
    pixels: Pixels = np.rint(255 * np.clip(scaled, 0, 1)).astype(np.uint8)
    return pixels
