"""Middle slices of scans side by side."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.config.labels import MaskLabels
from voxray.errors import ScanError
from voxray.inspection.summary import Inspection
from voxray.reporting.run.cases import Contour, draw_contours
from voxray.scans.formats.base import scan_errors
from voxray.scans.formats.channels import channel_files
from voxray.scans.formats.registry import split_suffix
from voxray.scans.masks import open_mask, shown_numbers
from voxray.scans.read import open_scan
from voxray.storage.paths import AnyPath
from voxray.visualization.overlay import AXIAL, LOW_HIGH, PLANES, PlaneAxes, take_plane, to_gray
from voxray.visualization.slices import encode_png, is_picture, shorten_id
from voxray.volume import Volume

TILE_PIXELS = 192
# An axis coarser by this factor is the one across the acquired slices.
COARSER = 1.5

Row = dict[str, Any]


@dataclass(frozen=True)
class Tile:
    """One scan of a montage: its picture (gray or colored), and the outlines of its mask's classes."""

    path: str
    title: str
    note: str
    uri: str
    width_mm: float
    height_mm: float
    outlines: tuple[Contour, ...]

    @property
    def view_box(self) -> str:
        """A square with the picture in its middle, in millimeters."""
        side = max(self.width_mm, self.height_mm)
        return f"{(self.width_mm - side) / 2:.2f} {(self.height_mm - side) / 2:.2f} {side:.2f} {side:.2f}"


def choose_evenly(scan_stats: pa.Table, limit: int) -> list[Row]:
    """At most `limit` readable scans, evenly spaced among those of each class, one class after the other."""
    readable = scan_stats.filter(pc.is_valid(scan_stats["channels"])).sort_by(
        [("label", "ascending"), ("number", "ascending")]
    )
    labels = readable["label"].to_pylist()
    groups = [np.flatnonzero([label == name for label in labels]) for name in dict.fromkeys(labels)]
    chosen: list[int] = []
    for position, group in enumerate(groups):
        share = (limit - len(chosen)) // (len(groups) - position)
        evenly = np.linspace(0, len(group) - 1, min(share, len(group))).round().astype(int)
        chosen += group[evenly].tolist()
    return list(readable.take(pa.array(chosen, pa.int64())).to_pylist())


def choose_flagged(inspection: Inspection, limit: int) -> list[tuple[Row, str]]:
    """Scans with an issue and its description, the worst of each kind by turns, each scan once."""
    kinds: dict[str, list[Row]] = {}
    for row in inspection.issues.filter(pc.is_valid(inspection.issues["number"])).to_pylist():
        kinds.setdefault(row["kind"], []).append(row)
    details: dict[int, str] = {}
    for row in filter(None, chain.from_iterable(zip_longest(*kinds.values()))):
        details.setdefault(row["number"], row["detail"])
    numbers = list(details)[:limit]
    scans = inspection.scan_stats.take(pa.array(numbers, pa.int64())).to_pylist()
    return [(scan, details[scan["number"]]) for scan in scans]


def draw_pairs(inspection: Inspection, limit: int) -> list[tuple[Tile, Tile]]:
    """Scans that are almost the same, side by side, those most alike first."""
    issues = inspection.issues.filter(pc.is_valid(inspection.issues["other"])).slice(0, limit).to_pylist()
    numbers = [number for row in issues for number in (row["number"], row["other"])]
    scans = inspection.scan_stats.take(pa.array(numbers, pa.int64())).to_pylist()
    pairs = []
    for row, first, second in zip(issues, scans[::2], scans[1::2], strict=True):
        notes = (
            first["split"] or first["patient_id"],
            f"{second['split'] or second['patient_id']}, {row['score']:.2f}",
        )
        tiles = draw_tiles(inspection, list(zip((first, second), notes, strict=True)))
        if len(tiles) == 2:
            pairs.append((tiles[0], tiles[1]))
    return pairs


def draw_tiles(inspection: Inspection, scans: Sequence[tuple[Row, str]]) -> list[Tile]:
    """Pictures of some scans, each with a note, without those that cannot be read."""
    tiles = []
    for row, note in scans:
        with suppress(ScanError), scan_errors(row["path"]):  # an issue already
            tiles.append(_draw(inspection, row, note))
    return tiles


def _draw(inspection: Inspection, row: Row, note: str) -> Tile:
    target = inspection.target
    root = target.manifest.root
    image = open_scan(root / row["path"])
    labels = None if row["label_path"] is None else _labels(root / row["label_path"], image, target.labels)
    plane = AXIAL if is_picture(row["path"]) else slice_plane(image)
    foreground = np.zeros(0) if labels is None else labels.any(axis=(plane.across, plane.up))
    labeled = np.flatnonzero(foreground)
    index = int(labeled[len(labeled) // 2]) if len(labeled) else image.shape[plane.cut] // 2  # middle of the foreground
    gray = _gray_slice(image, plane, index, is_picture(row["path"]))
    steps = np.array([image.spacing_mm[plane.across], image.spacing_mm[plane.up]])
    height_mm, width_mm = (float(size) for size in np.array(gray.shape[:2]) * steps[::-1])
    contours = [] if labels is None else draw_contours(take_plane(labels, plane, index), steps, is_truth=True)
    title = shorten_id(_stem(row["scan_id"]))
    return Tile(row["path"], title, note, encode_png(gray, TILE_PIXELS), width_mm, height_mm, tuple(contours))


def slice_plane(image: Volume) -> PlaneAxes:
    """The plane that a scan was acquired in: across its coarsest axis where one is coarser, else the axial one."""
    spacing = np.array(image.spacing_mm)
    coarsest = int(spacing.argmax())
    if image.shape[2] > 1 and spacing[coarsest] > COARSER * np.delete(spacing, coarsest).max():
        return next(plane for plane in PLANES if plane.cut == coarsest)
    return AXIAL


def _stem(scan_id: str) -> str:
    """A scan's name without the suffix of its first file; an image of a stack keeps the name of its array."""
    stem, _ = split_suffix(str(channel_files(Path(scan_id))[0]))
    *folders, last = stem.split("/")
    return f"{folders[-1]} {last}" if folders and last.isdecimal() else stem


def _gray_slice(image: Volume, plane: PlaneAxes, index: int, picture: bool) -> NDArray[np.uint8]:
    """One slice (line, column) of the first channel, or (line, column, 3) of a color picture."""
    channels = image.array if len(image.array) == 3 and picture else image.array[:1]
    slices = [channel[:, :, index].T if picture else take_plane(channel, plane, index) for channel in channels]
    gray = np.stack(list(map(_gray, slices)), axis=-1)
    return gray[..., 0] if len(slices) == 1 else gray


def _gray(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    finite = pixels[np.isfinite(pixels)]
    low, high = np.percentile(finite, LOW_HIGH) if finite.size else (0, 0)
    return to_gray(pixels, float(low), float(high))


def _labels(path: AnyPath, image: Volume, labels: MaskLabels | None) -> NDArray[np.uint8] | None:
    """The numbers of the mask's values; None where it does not fit the image, which is an issue already."""
    try:
        mask = open_mask(path)
        numbers = shown_numbers(mask, labels, str(path)) if labels else (mask.array[0] != 0).astype(np.uint8)
    except ScanError:
        return None
    return numbers if mask.shape == image.shape else None
