"""A scan that turns about its long axis: maximum-intensity projections, with shaded surfaces of label maps in them.

Projections are seen from the front at first: the patient's right is on the left, superior is up.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import binary_erosion, gaussian_filter

from voxray.visualization.data_uri import data_uri
from voxray.visualization.overlay import crop_box, to_gray

Floats = NDArray[np.float64]

FRAMES = 24
FRAME_MS = 140
QUALITY, EFFORT = 72, 2  # of WebP
PIXELS = {1: 420, 2: 340}  # of the longer side of a panel, by their number
SCALE = 2  # Fine surfaces are drawn on a finer grid and averaged, for anti-aliasing.
GRID = 128  # voxels of the projected volume along its longest axis
SURFACE_GRID = 140  # and of a label map
LEAST_VOXELS = 12  # of an axis; a flatter scan has nothing to turn
FAR = 0.45  # brightness of the farthest voxels, as a share of that of the nearest
BRIGHT = (20.0, 99.9)  # percentiles of the projections that become black and white
LIGHT = np.array([-0.4, -0.8, 0.45]) / np.linalg.norm([-0.4, -0.8, 0.45])  # across, away from the viewer, up
AMBIENT = 0.3
OPAQUE, GLASS = 0.95, 0.6  # opacity of a single surface, and of each of several, that may enclose one another
SMOOTHING = 0.7  # of label maps, in voxels of the scan
SPHERE_POINTS = 1500


@dataclass(frozen=True, eq=False)
class Surface:
    """Points of a surface, drawn as one layer.

    Attributes
    ----------
    points, normals : ndarray, (n, 3)
        In millimeters from the center of the scan, along x, y, z.
    colors : ndarray, (n, 3)
        Red, green, blue, up to 255.
    step_mm : float
        Distance of neighboring points.
    opacity : float
    """

    points: Floats
    normals: Floats
    colors: Floats
    step_mm: float
    opacity: float = OPAQUE


def can_turn(shape: Sequence[int]) -> bool:
    """Whether a scan is thick enough for a view in space."""
    return min(shape) >= LEAST_VOXELS


def render_turning(
    channel: NDArray[Any], spacing_mm: Sequence[float], panels: Sequence[Sequence[Surface]]
) -> tuple[str, str]:
    """A turn of 360 degrees as an animated WebP, and a still of it for print: data URIs.

    Parameters
    ----------
    channel : ndarray, (x, y, z)
        Voxels in RAS+ axes.
    spacing_mm : (x, y, z)
    panels : sequence of sequences of Surface
        Surfaces of each of one or two panels, which are side by side and turn together.
    """
    extent_mm = np.array(channel.shape) * np.asarray(spacing_mm)
    angles = np.arange(FRAMES) * 2 * np.pi / FRAMES
    grays = _projections(channel, extent_mm, angles)
    frames = []
    for gray, angle in zip(grays, angles, strict=True):
        pictures = [_draw(gray, surfaces, angle, extent_mm, PIXELS[len(panels)]) for surfaces in panels]
        frames.append(Image.fromarray(np.concatenate(pictures, axis=1)))
    sink, still = io.BytesIO(), io.BytesIO()
    options: Any = {"save_all": True, "append_images": frames[1:], "duration": FRAME_MS, "loop": 0}
    frames[0].save(sink, "WEBP", quality=QUALITY, method=EFFORT, **options)
    frames[FRAMES // 12].save(still, "WEBP", quality=85)
    return data_uri("webp", sink.getvalue()), data_uri("webp", still.getvalue())


def label_surfaces(labels: NDArray[np.uint8], spacing_mm: Sequence[float], colors: Sequence[str]) -> list[Surface]:
    """The surface of each label 1, 2, … of a map (x, y, z) that occurs, in the color of the same position."""
    if not labels.any():
        return []
    box = crop_box([labels], spacing_mm)
    corner = np.array([part.start for part in box])
    cropped, spacing = labels[box], np.asarray(spacing_mm)
    step = float((np.array(cropped.shape) * spacing).max() / SURFACE_GRID)
    size = np.maximum(np.round(np.array(cropped.shape) * spacing / step), 1).astype(int)
    # From positions on the even grid to millimeters from the center of the scan.
    scale = np.array(cropped.shape) * spacing / size
    shift = corner * spacing - np.array(labels.shape) * spacing / 2
    found = [(label, color) for label, color in enumerate(colors, 1) if (cropped == label).any()]
    opacity = GLASS if len(found) > 1 else OPAQUE
    surfaces = []
    for label, color in found:
        field = np.pad(_resample(cropped == label, size.tolist()).numpy().astype(np.float64), 2)
        soft = gaussian_filter(field, np.maximum(SMOOTHING * spacing / scale, 0.8))
        inside = soft >= min(0.5, 0.5 * soft.max())
        edge = np.argwhere(inside & ~binary_erosion(inside))
        gradient = np.stack(np.gradient(gaussian_filter(soft, 1.0)), axis=-1)[tuple(edge.T)] / scale
        normals = -gradient / np.maximum(np.linalg.norm(gradient, axis=1, keepdims=True), 1e-9)
        colors_of = np.tile(_rgb(color), (len(edge), 1))
        surfaces.append(Surface((edge - 1.5) * scale + shift, normals, colors_of, float(scale.max()), opacity))
    return surfaces


def balls(centers_mm: Floats, radius_mm: float, colors: Sequence[str]) -> Surface:
    """A ball of each color around a point, (n, 3) in millimeters from the center of the scan."""
    # Points of equal distance on a spiral (Vogel's method).
    number = np.arange(SPHERE_POINTS) + 0.5
    height, turn = 1 - 2 * number / SPHERE_POINTS, np.pi * (1 + 5**0.5) * number
    flat = np.sqrt(1 - height**2)
    normals = np.stack([flat * np.cos(turn), flat * np.sin(turn), height], axis=1)
    points = (centers_mm[:, None] + radius_mm * normals).reshape(-1, 3)
    tones = np.repeat([_rgb(color) for color in colors], SPHERE_POINTS, axis=0)
    return Surface(points, np.tile(normals, (len(colors), 1)), tones, 3.5 * radius_mm / SPHERE_POINTS**0.5)


def _projections(channel: NDArray[Any], extent_mm: Floats, angles: Floats) -> NDArray[np.uint8]:
    """Gray pictures (angle, line, column): the highest intensity along each ray, darker with its distance."""
    size = np.maximum(np.round(extent_mm / extent_mm.max() * GRID), 1).astype(int).tolist()
    volume = _resample(channel, size)
    volume -= torch.quantile(volume.flatten()[:: max(1, volume.numel() // 10**5)], 0.01)
    layers = volume.clamp_(min=0).permute(2, 0, 1)[None]  # z as channels: the turn is in plane
    half = extent_mm[:2].max() / 2
    steps = max(size[:2])
    line = torch.linspace(-1, 1, steps) * half
    far, across = torch.meshgrid(line, line, indexing="ij")
    fade = torch.linspace(1, FAR, steps)[None, :, None]
    pictures = []
    for angle in angles.tolist():
        x, y = _back(across, far, angle)
        grid = torch.stack([2 * y / extent_mm[1], 2 * x / extent_mm[0]], -1)[None].float()
        rays = F.grid_sample(layers, grid, mode="bilinear", padding_mode="zeros", align_corners=False)[0]
        pictures.append((rays * fade).amax(1).flip(0).numpy())
    low, high = np.percentile(np.stack(pictures), BRIGHT)
    return to_gray(np.stack(pictures), float(low), float(high))


def _back(across: torch.Tensor, far: torch.Tensor, angle: float) -> tuple[torch.Tensor, torch.Tensor]:
    """From the view to the scan's x and y; at angle 0 its right is on the left and its front is near."""
    cosine, sine = float(np.cos(angle)), float(np.sin(angle))
    return -(across * cosine + far * sine), across * sine - far * cosine


def _resample(channel: NDArray[Any], size: list[int]) -> torch.Tensor:
    """Means of blocks along axes that shrink, linear interpolation along others, (x, y, z)."""
    fewer = [min(old, new) for old, new in zip(channel.shape, size, strict=True)]
    # By layers: a whole CT as float32 would be large.
    flat = torch.stack([_smaller(channel[..., z], fewer[:2]) for z in range(channel.shape[2])], -1)[None, None]
    volume = F.interpolate(flat, fewer, mode="area")
    return F.interpolate(volume, size, mode="trilinear", align_corners=False)[0, 0]


def _smaller(layer: NDArray[Any], size: list[int]) -> torch.Tensor:
    pixels = torch.from_numpy(np.nan_to_num(layer.astype(np.float32)))
    return F.interpolate(pixels[None, None], size, mode="area")[0, 0]


def _draw(
    gray: NDArray[np.uint8], surfaces: Sequence[Surface], angle: float, extent_mm: Floats, longest: int
) -> NDArray[np.uint8]:
    """One panel (line, column, 3)."""
    width_mm, height_mm = float(extent_mm[:2].max()), float(extent_mm[2])
    per_mm = longest / max(width_mm, height_mm)
    width, height = (max(1, round(edge * per_mm)) for edge in (width_mm, height_mm))
    # Coarse surfaces have no finer edges to draw.
    scale = SCALE if all(surface.step_mm * per_mm <= 1 for surface in surfaces) else 1
    width, height, per_mm = scale * width, scale * height, scale * per_mm
    base = Image.fromarray(gray).resize((width, height), Image.Resampling.BICUBIC)
    picture = np.repeat(np.asarray(base)[..., None], 3, 2).reshape(-1, 3)
    if surfaces:
        layers = [_splat(surface, angle, (height, width), per_mm) for surface in surfaces]
        _blend(picture, np.array([surface.opacity for surface in surfaces]), layers)
    return np.asarray(Image.fromarray(picture.reshape(height, width, 3)).reduce(scale))


def _blend(picture: NDArray[np.uint8], opacities: Floats, layers: Sequence[tuple[Floats, Floats]]) -> None:
    """Draw layers, depths (pixel,) and colors (pixel, 3) each, into a picture (pixel, 3), the farthest first."""
    depths, colors = (np.stack(parts) for parts in zip(*layers, strict=True))
    drawn = np.flatnonzero(np.isfinite(depths).any(0))
    depths, colors = depths[:, drawn], colors[:, drawn]
    blended, pixel = picture[drawn].astype(np.float64), np.arange(len(drawn))
    for layer in np.argsort(-depths, axis=0, kind="stable"):
        share = (opacities[layer] * np.isfinite(depths[layer, pixel]))[:, None]
        blended += share * (colors[layer, pixel] - blended)
    picture[drawn] = blended.astype(np.uint8)


def _splat(surface: Surface, angle: float, shape: tuple[int, int], per_mm: float) -> tuple[Floats, Floats]:
    """Depth of the surface at each pixel (line by line), −inf where it is not, and its shaded color (pixel, 3)."""
    height, width = shape
    cosine, sine = np.cos(angle), np.sin(angle)

    def turned(vectors: Floats) -> Floats:
        x, y, z = vectors.T
        return np.stack([y * sine - x * cosine, -x * sine - y * cosine, z], axis=1)

    points, normals = turned(surface.points), turned(surface.normals)
    facing = normals[:, 1] < 0.1
    points, normals, tones = points[facing], normals[facing], surface.colors[facing]
    # The nearest comes last, and the last one written to a pixel remains.
    order = np.argsort(-points[:, 1], kind="stable")
    points, normals, tones = points[order], normals[order], tones[order]
    shade = AMBIENT + (1 - AMBIENT) * np.clip(normals @ LIGHT, 0, 1)
    columns = np.floor(width / 2 + points[:, 0] * per_mm).astype(int)
    lines = np.floor(height / 2 - points[:, 2] * per_mm).astype(int)
    reach = int(np.ceil(0.55 * surface.step_mm * per_mm))
    offsets = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * 2), -1).reshape(-1, 2)
    at = np.stack([lines, columns], 1)[:, None] + offsets
    inside = ((at >= 0) & (at < shape)).all(-1)
    pixels = (at[..., 0] * width + at[..., 1])[inside]
    depths, colors = np.full(height * width, -np.inf), np.zeros((height * width, 3))
    member = np.broadcast_to(np.arange(len(points))[:, None], inside.shape)[inside]
    depths[pixels] = points[member, 1]
    colors[pixels] = (shade[:, None] * tones)[member]
    return depths, colors


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = (int(color[start : start + 2], 16) for start in (1, 3, 5))
    return red, green, blue
