"""The findings of a scan as files: a table, JSON, pictures and a page."""

import base64
import csv
import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from voxray.datasets.point_lists import COORDINATES, SERIES
from voxray.inference.detector import Findings
from voxray.reporting.findings.page import Shown, render_findings
from voxray.reporting.text.numbers import probability_percent
from voxray.runs.folder import PredictionFolder
from voxray.scans.geometry import canonical_volume, world_to_voxel
from voxray.storage.atomic import write_bytes, write_json
from voxray.visualization.findings import point_picture
from voxray.volume import Volume

COLUMNS = (SERIES, *COORDINATES, "probability", "diameter_mm")
MOST_PICTURES = 10
LUNG_WINDOW_HU = (-1200.0, 600.0)  # of the pictures


def write_findings(
    folder: PredictionFolder, name: str, scan: str, findings: Findings, volume: Volume, subtitle: Sequence[str]
) -> list[str]:
    """Write the findings of a scan; returns the first ten in words.

    ``NAME_findings.csv`` and ``.json`` hold all findings, in world millimeters, LPS; ``NAME_finding_N.png`` and the
    page ``NAME_findings.html`` the first ten.

    Parameters
    ----------
    name : str
        Of the files.
    scan : str
        The series, in the table.
    volume : Volume
        The scan, in any axes.
    subtitle : sequence of str
        What was done, for the page.
    """
    volume = canonical_volume(volume.array, volume.affine)
    table = _rows(findings, scan)
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_bytes(folder.findings_table(name), sink.getvalue().encode())
    places = _places(findings, volume)
    content = [{**row, **place} for row, place in zip(table, places, strict=True)]
    write_json(folder.findings(name), {"scan": scan, "axes": "LPS, mm", "findings": content})
    shown = []
    for number in range(min(MOST_PICTURES, int(np.isfinite(findings.probabilities).sum()))):
        picture = point_picture(volume, findings.centers_mm[number], findings.diameters_mm[number], LUNG_WINDOW_HU)
        write_bytes(folder.finding_picture(f"{name}_finding_{number + 1}"), picture)
        shown.append(
            Shown(
                number + 1,
                float(findings.probabilities[number]),
                tuple(findings.centers_mm[number].tolist()),
                float(findings.diameters_mm[number]),
                places[number]["slice"],
                places[number]["side"],
                "data:image/png;base64," + base64.b64encode(picture).decode(),
            )
        )
    page = render_findings(name, subtitle, shown, volume, LUNG_WINDOW_HU)
    write_bytes(folder.findings_page(name), page.encode())
    return [_in_words(finding) for finding in shown]


def _rows(findings: Findings, scan: str) -> list[dict[str, Any]]:
    lps = findings.centers_mm * (-1, -1, 1)
    return [
        {
            SERIES: scan,
            **dict(zip(COORDINATES, (round(float(value), 3) for value in point), strict=True)),
            "probability": None if np.isnan(probability) else float(probability),
            "diameter_mm": None if np.isnan(diameter) else round(float(diameter), 2),
        }
        for point, probability, diameter in zip(lps, findings.probabilities, findings.diameters_mm, strict=True)
    ]


def _places(findings: Findings, volume: Volume) -> list[dict[str, Any]]:
    """The axial slice, counted from the feet, and the patient's side of each finding."""
    voxels = world_to_voxel(volume.affine, findings.centers_mm)
    middle = (volume.shape[0] - 1) / 2
    last = volume.shape[2] - 1
    # Of the canonical axes x runs from the patient's left to the right side: RAS+ means towards the right.
    return [
        {"slice": int(np.clip(np.floor(z + 0.5), 0, last)), "side": "right" if x > middle else "left"}
        for x, _, z in voxels.tolist()
    ]


def _in_words(finding: Shown) -> str:
    x, y, z = finding.center_mm
    size = "" if np.isnan(finding.diameter_mm) else f", about {finding.diameter_mm:.0f} mm"
    where = f"{finding.side}, slice {finding.slice}, at {-x:.1f}, {-y:.1f}, {z:.1f} mm (LPS)"
    return f"{finding.rank}. {probability_percent(finding.probability)}, {where}{size}"
