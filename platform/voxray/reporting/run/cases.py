"""The scans of a segmentation run that a report displays, and their pictures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.config.labels import MaskLabels, label_settings, mask_labels
from voxray.datasets.pseudonyms import files_of
from voxray.errors import DataError, ScanError
from voxray.reporting.run.contents import Case, RunContents
from voxray.reporting.run.scan_views import ScanViews, public_problem, segmentation_views
from voxray.reporting.text.numbers import minus
from voxray.scans.geometry import voxel_to_world
from voxray.scans.masks import open_mask, shown_numbers
from voxray.scans.read import open_scan
from voxray.storage.paths import AnyPath
from voxray.visualization.animation import TINT, Slices, animate
from voxray.visualization.overlay import (
    PLANES,
    PlaneAxes,
    Points,
    center_of,
    crop_box,
    display_range,
    lighter,
    outlines,
    take_plane,
    to_gray,
)
from voxray.visualization.slices import encode_png, shorten_id
from voxray.visualization.style import class_color
from voxray.volume import Volume

PLANE_PIXELS = 320


@dataclass(frozen=True)
class Contour:
    """The contour of one class in one plane: an SVG path in millimeters, and how it is drawn."""

    path: str
    color: str
    is_truth: bool


@dataclass(frozen=True)
class PlanePicture:
    """One plane of a scan: its gray picture, its position in world millimeters, and outlines, ground truth first."""

    axes: PlaneAxes
    uri: str
    width_mm: float
    height_mm: float
    position: str
    outlines: tuple[Contour, ...]


@dataclass(frozen=True)
class CasePictures:
    """Three planes through the center of the ground truth, and a loop through the axial slices with a still of it."""

    planes: tuple[PlanePicture, ...]
    loop: str
    still: str
    frames: int


@dataclass(frozen=True)
class DisplayedCase:
    """The best, median or worst scan with its metrics, and pictures or the reason why there are none.

    `views` are those of the whole scan; one of the displayed scans has them.
    """

    title: str
    row: Case
    pictures: CasePictures | None
    problem: str
    views: ScanViews | None = None

    @property
    def short_id(self) -> str:
        """The end of the scan's name."""
        return shorten_id(str(self.row["scan_id"]))


def ranked_cases(cases: Sequence[Case]) -> list[Case]:
    """Scans from the lowest mean Dice to the highest; those without one are omitted."""
    defined = [case for case in cases if math.isfinite(case["dice"])]
    return sorted(defined, key=lambda case: (case["dice"], str(case["scan_id"])))


def choose_cases(cases: Sequence[Case]) -> list[tuple[str, Case]]:
    """Best, median and worst scan by mean Dice, each with its title; fewer where there are fewer scans."""
    ranked = ranked_cases(cases)
    if len(ranked) < 2:
        return [("Only case", case) for case in ranked]
    median = [("Median case", ranked[(len(ranked) - 1) // 2])] if len(ranked) > 2 else []
    return [("Best case", ranked[-1]), *median, ("Worst case", ranked[0])]


def draw_cases(run: RunContents, split: str) -> list[DisplayedCase]:
    """The chosen scans of a split, with pictures where their files still exist."""
    displayed = []
    chosen = choose_cases(run.cases[split])
    for number, (title, case) in enumerate(chosen):
        try:
            volumes = read_case(run, case)
            pictures = _draw_case(run, *volumes)
            views = _draw_views(run, title, case, *volumes) if number == len(chosen) // 2 else None
            displayed.append(DisplayedCase(title, case, pictures, "", views))
        except (ScanError, DataError) as error:  # a pseudonym may no longer be listed
            displayed.append(DisplayedCase(title, case, None, public_problem(run.experiment, error)))
    return displayed


def read_case(run: RunContents, case: Case) -> tuple[Volume, NDArray[np.uint8], NDArray[np.uint8]]:
    """A scan, its ground truth (x, y, z) and its prediction (x, y, z), all in canonical axes.

    Raises
    ------
    ScanError
        A file is missing or has changed.
    """
    if not case.get("prediction"):
        raise ScanError(str(case["path"]), "the run has no prediction of it", "Run voxray evaluate")
    ((file, mask),) = files_of(run.experiment, [case])
    scan = open_scan(file)
    labels = mask_labels(run.classes, label_settings(run.experiment.data))
    truth = _labels(mask or file, labels, scan)
    return scan, truth, _labels(run.folder / case["prediction"], labels, scan)


def gray_levels(run: RunContents, scan: Volume) -> tuple[float, float]:
    """The intensities of black and white for a whole scan."""
    intensity = run.experiment.intensity
    return display_range(scan.array[0], intensity.windows[0] if intensity.kind == "window" else None)


def _draw_views(
    run: RunContents,
    title: str,
    case: Case,
    scan: Volume,
    truth: NDArray[np.uint8],
    prediction: NDArray[np.uint8],
) -> ScanViews:
    caption = f"{title.lower()}, {'mean ' if len(run.classes) > 2 else ''}Dice {case['dice']:.3f}"
    levels = gray_levels(run, scan)
    return segmentation_views(str(case["scan_id"]), caption, scan, truth, prediction, levels, len(run.classes))


def _draw_case(run: RunContents, scan: Volume, truth: NDArray[np.uint8], prediction: NDArray[np.uint8]) -> CasePictures:
    channel, levels = scan.array[0], gray_levels(run, scan)
    box = crop_box((truth, prediction), scan.spacing_mm)
    slices = Slices(channel[box], truth[box], prediction[box], scan.spacing_mm, levels)
    corner = np.array([part.start for part in box], np.float64)
    center = center_of(slices.truth, slices.prediction)
    world = voxel_to_world(scan.affine, (corner + center)[None])[0]
    planes = tuple(
        draw_plane(slices, plane, center[plane.cut], float(world[plane.cut]))
        for plane in (PLANES if scan.shape[2] > 1 else PLANES[:1])
    )
    return CasePictures(planes, *animate(slices))


def _labels(path: AnyPath, labels: MaskLabels, scan: Volume) -> NDArray[np.uint8]:
    volume = open_mask(path)
    if volume.shape != scan.shape:
        raise ScanError(
            str(path), f"expected {scan.shape} voxels as in its scan, got {volume.shape}", "Run voxray evaluate again"
        )
    return shown_numbers(volume, labels, str(path))


def draw_plane(slices: Slices, plane: PlaneAxes, index: int, world_mm: float) -> PlanePicture:
    """One plane of slices with contours; `world_mm` is its position."""
    low, high = display_range(slices.image, slices.window)
    gray = to_gray(take_plane(slices.image, plane, index), low, high)
    steps = np.array([slices.spacing_mm[plane.across], slices.spacing_mm[plane.up]])
    height_mm, width_mm = (float(size) for size in np.array(gray.shape) * steps[::-1])
    truth = draw_contours(take_plane(slices.truth, plane, index), steps, is_truth=True)
    prediction = draw_contours(take_plane(slices.prediction, plane, index), steps, is_truth=False)
    position = minus(f"{'xyz'[plane.cut]} {world_mm:.1f} mm")
    return PlanePicture(plane, encode_png(gray, PLANE_PIXELS), width_mm, height_mm, position, (*truth, *prediction))


def draw_contours(labels: NDArray[np.uint8], steps: NDArray[np.float64], *, is_truth: bool) -> list[Contour]:
    """The contour of each class of a plane (line, column); `steps` are the sizes of its pixels across and up in mm."""
    contours = []
    for label in np.unique(labels[labels > 0]).tolist():
        path = "".join(svg_path(line * steps) for line in outlines(labels == label))
        contours.append(Contour(path, lighter(class_color(label), 0 if is_truth else TINT), is_truth))
    return contours


def svg_path(line: Points) -> str:
    """A closed line as an SVG path, rounded to 0.01 mm."""
    points = (f"{x:.2f},{y:.2f}".replace(".00", "") for x, y in line[:-1])
    return f"M{' '.join(points)}Z"
