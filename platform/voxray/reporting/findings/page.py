"""The findings of a scan as one HTML page: a table, a picture of each, and all slices of the scan."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from voxray.reporting.html import template_environment
from voxray.scans.geometry import world_to_voxel
from voxray.visualization.findings import SMALLEST_CIRCLE_MM, slice_pictures
from voxray.volume import Volume


@dataclass(frozen=True)
class Shown:
    """A finding as the page shows it; `picture` is a data URI, `center_mm` is world RAS.

    `is_above` says whether it is at or above the operating point.
    """

    rank: int
    probability: float
    center_mm: tuple[float, float, float]
    diameter_mm: float
    slice: int
    side: str
    picture: str
    is_above: bool = False


@dataclass(frozen=True)
class _Circle:
    """On a slice, in percent of its width and height; both radii in percent of their own side."""

    rank: int
    x: float
    y: float
    across: float
    up: float


def render_findings(
    name: str,
    subtitle: Sequence[str],
    sentences: Sequence[str],
    shown: Sequence[Shown],
    volume: Volume,
    window: tuple[float, float],
) -> str:
    """The page as HTML, without any other file.

    Parameters
    ----------
    name : str
        Of the scan.
    subtitle : sequence of str
        What was done.
    sentences : sequence of str
        What the thresholds say.
    shown : sequence of Shown
        The most probable first.
    volume : Volume
        The scan in canonical axes.
    window : (float, float)
        Intensities that are drawn black and white.
    """
    slices = [
        {"number": number, "picture": picture, "circles": _circles(volume, shown, number)}
        for number, picture in enumerate(slice_pictures(volume, window))
    ]
    slices.reverse()  # from the head down, as a chest is read
    width, height, _ = np.multiply(volume.shape, volume.spacing_mm)
    page = template_environment().get_template("findings.html.jinja")
    values = {"subtitle": subtitle, "sentences": sentences, "findings": shown, "slices": slices}
    return page.render(name=name, ratio=width / height, **values)


def _circles(volume: Volume, shown: Sequence[Shown], number: int) -> list[_Circle]:
    """The findings that a slice passes through."""
    circles = []
    for finding in shown:
        diameter = finding.diameter_mm if finding.diameter_mm > SMALLEST_CIRCLE_MM else SMALLEST_CIRCLE_MM
        x, y, z = world_to_voxel(volume.affine, np.array([finding.center_mm]))[0].tolist()
        if abs(z - number) * volume.spacing_mm[2] <= diameter / 2 or number == finding.slice:
            width, height, _ = volume.shape
            across, up = (75 * diameter / extent for extent in np.multiply(volume.shape, volume.spacing_mm)[:2])
            left, top = 100 - 100 * (x + 0.5) / width, 100 - 100 * (y + 0.5) / height
            circles.append(_Circle(finding.rank, left, top, float(across), float(up)))
    return circles
