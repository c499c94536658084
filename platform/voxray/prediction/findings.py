"""The findings of a scan as files: a table, JSON, pictures and a page."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from voxray.datasets.point_lists import COORDINATES, SERIES
from voxray.inference.detector import Detector, Findings
from voxray.prediction.earlier import FILES, finished_files
from voxray.reporting.findings.page import Shown, render_findings
from voxray.reporting.text.numbers import decimals, probability, probability_percent
from voxray.runs.folder import PredictionFolder
from voxray.scans.geometry import canonical_volume, world_to_voxel
from voxray.storage.atomic import write_bytes, write_json
from voxray.visualization.data_uri import data_uri
from voxray.visualization.findings import LUNG_WINDOW_HU, point_picture
from voxray.volume import Volume

COLUMNS = (SERIES, *COORDINATES, "probability", "diameter_mm")
MOST_PICTURES = 10
MARK = "●"  # of findings at or above the operating point


def write_findings(
    folder: PredictionFolder,
    name: str,
    findings: Findings,
    volume: Volume,
    detector: Detector,
    subtitle: Sequence[str],
    made_by: Mapping[str, Any],
    *,
    searched: bool,
) -> list[str]:
    """Write the findings of a scan; returns the first ten in words, after what the thresholds say.

    ``NAME_findings.csv`` and ``.json`` hold all findings, in world millimeters, LPS; ``NAME_finding_N.png`` and the
    page ``NAME_findings.html`` the first ten. Those at or above the operating point are marked.

    Parameters
    ----------
    name : str
        Of the files, and the series in the table.
    volume : Volume
        The scan, in any axes.
    detector : Detector
        Whose thresholds count.
    subtitle : sequence of str
        What was done, for the page.
    made_by : mapping
        What the findings belong to, for the JSON file.
    searched : bool
        Whether the scan was searched, instead of classifying a list.
    """
    volume = canonical_volume(volume.array, volume.affine)
    table, written = _rows(findings, name), [folder.findings_table(name), folder.findings_page(name)]
    sink = io.StringIO(newline="")
    writer = csv.DictWriter(sink, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(table)
    write_bytes(folder.findings_table(name), sink.getvalue().encode())
    places = _places(findings, volume)
    above = _is_above(findings)
    content = [
        {**row, **place, "above_operating_point": mark} for row, place, mark in zip(table, places, above, strict=True)
    ]
    sentences = list(threshold_sentences(findings, detector, searched=searched))
    shown = []
    for number in range(min(MOST_PICTURES, findings.count_known())):
        picture = point_picture(volume, findings.centers_mm[number], findings.diameters_mm[number], LUNG_WINDOW_HU)
        written.append(folder.finding_picture(f"{name}_finding_{number + 1}"))
        write_bytes(written[-1], picture)
        shown.append(
            Shown(
                number + 1,
                float(findings.probabilities[number]),
                tuple(findings.centers_mm[number].tolist()),
                float(findings.diameters_mm[number]),
                places[number]["slice"],
                places[number]["side"],
                data_uri("png", picture),
                bool(above[number]),
            )
        )
    page = render_findings(name, subtitle, sentences, shown, volume, LUNG_WINDOW_HU)
    write_bytes(folder.findings_page(name), page.encode())
    write_json(
        folder.findings(name),
        {
            **made_by,
            "scan": name,
            "axes": "LPS, mm",
            "operating_point": findings.operating_point and asdict(findings.operating_point),
            "recall_threshold": None if searched else _recall_threshold(detector),
            "findings": content,
            FILES: finished_files(written),
        },
    )
    return [*sentences, *(_in_words(finding) for finding in shown)]


def threshold_sentences(findings: Findings, detector: Detector, *, searched: bool) -> Iterator[str]:
    """How many findings are at or above the operating point of a scan that was searched, or the recall's of a list."""
    point, total = findings.operating_point, f"{findings.count_known():,}"
    if point is not None:
        above = f"{findings.count_above(point.threshold):,} of {total} findings ({MARK}) are at or above"
        allowed = f"at most {point.false_positives_per_scan:g} false positives a scan on validation"
        found = "" if point.sensitivity is None else f", sensitivity {decimals(point.sensitivity, 2)} there"
        yield f"{above} the operating point, p ≥ {probability(point.threshold)}: {allowed}{found}"
    elif searched:
        yield "no operating point: the run was not evaluated on whole scans with these proposals"
    elif (recall := _recall_threshold(detector)) is not None:
        above = f"{findings.count_above(recall['threshold']):,} of {total} findings have"
        chosen = f"chosen for a recall of {decimals(recall['target_recall'], 2)} on the list's candidates of validation"
        yield f"{above} p ≥ {probability(recall['threshold'])}, {chosen}"


def _recall_threshold(detector: Detector) -> dict[str, float] | None:
    if (threshold := detector.recall_threshold) is None:
        return None
    return {"threshold": threshold, "target_recall": detector.runs[0].experiment.evaluation.target_recall}


def _is_above(findings: Findings) -> list[bool | None]:
    """Whether each finding is at or above the operating point; None without one."""
    if findings.threshold is None:
        return [None] * len(findings)
    return [bool(mark) for mark in findings.probabilities >= findings.threshold]


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
    """The axial slice, counted from the feet, and the patient's side of each finding; None outside the scan."""
    voxels = world_to_voxel(volume.affine, findings.centers_mm)
    middle, last = (volume.shape[0] - 1) / 2, volume.shape[2] - 1
    # Of the canonical axes x runs from the patient's left to the right side: RAS+ means towards the right.
    return [
        {"slice": int(np.clip(np.floor(z + 0.5), 0, last)), "side": "right" if x > middle else "left"}
        if np.isfinite(probability)
        else {"slice": None, "side": None}
        for (x, _, z), probability in zip(voxels.tolist(), findings.probabilities, strict=True)
    ]


def _in_words(finding: Shown) -> str:
    x, y, z = finding.center_mm
    size = "" if np.isnan(finding.diameter_mm) else f", about {finding.diameter_mm:.1f} mm"
    where = f"{finding.side}, slice {finding.slice}, at {-x:.1f}, {-y:.1f}, {z:.1f} mm (LPS)"
    mark = f"{MARK} " if finding.is_above else ""
    return f"{finding.rank}. {mark}{probability_percent(finding.probability)}, {where}{size}"
