"""The part of a report on whole scans: proposals, the FROC curve, diameters, misses and false positives."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
from markupsafe import Markup

from voxray.datasets.pseudonyms import files_of
from voxray.errors import VoxrayError
from voxray.evaluation.finding_tables import FALSE_POSITIVE, has_outcome
from voxray.evaluation.findings import WHOLE_SCANS
from voxray.metrics.curves import Floats
from voxray.reporting.charts.froc_curve import DrawnCurve, froc_chart
from voxray.reporting.run.contents import Case, RunContents
from voxray.reporting.run.scan_views import public_problem
from voxray.reporting.text.class_rows import ClassRow
from voxray.reporting.text.metric_values import MetricValue, metric_value
from voxray.reporting.text.numbers import SPLIT_NAMES, count, finite, interval_text, minus, percent, probability
from voxray.reporting.text.sentences import operating_point_text
from voxray.scans.read import open_scan
from voxray.visualization.data_uri import data_uri
from voxray.visualization.findings import LUNG_WINDOW_HU, point_picture
from voxray.visualization.slices import shorten_id

DIAMETERS_MM = (5.0, 7.0, 10.0)  # between the rows of the table
RANGES_MM = ("below 5 mm", "5 to 7 mm", "7 to 10 mm", "10 mm and more")
MOST_PICTURES = 6  # of misses, and of false positives
PROPOSERS = {"log": "blobs by the Laplacian of Gaussians", "model": "maxima of a network"}
# Where the description of a metric is that of patches.
DESCRIPTIONS = {
    "false_positives_per_scan": "findings at or above the operating point that hit no nodule and no excluded finding",
    "recall": "share of nodules that a finding at or above the operating point hits",
}
LABELS = {
    "false_positives_per_scan": "False positives per scan at the operating point",
    "recall": "Recall at the operating point",
}


@dataclass(frozen=True)
class PointPicture:
    """A missed nodule or a false positive: three planes through it as a data URI, and what became of it."""

    scan_id: str
    short_id: str
    caption: str
    outcome: str
    uri: str


@dataclass(frozen=True)
class PointGroup:
    """Misses or false positives: some as pictures, or why there are none."""

    title: str
    summary: str
    cases: tuple[PointPicture, ...]
    problem: str = ""


@dataclass(frozen=True)
class WholeScans:
    """What the section displays; `diameters` are rows of a table for each split, the heading first."""

    sentences: tuple[str, ...]
    metrics: tuple[dict[str, MetricValue], ...]
    froc: Markup | None
    diameters: Mapping[str, list[ClassRow]]
    groups: tuple[PointGroup, ...]


def whole_scans(run: RunContents) -> WholeScans | None:
    """The section; None where whole scans were not searched."""
    metrics = {split: run.metrics[split][WHOLE_SCANS] for split in run.splits if WHOLE_SCANS in run.metrics[split]}
    if not metrics:
        return None
    keys = next(iter(metrics.values()))["intervals"]
    curves = {
        split: DrawnCurve(curve, metrics[split])
        for split in metrics
        if (curve := run.detection[split].findings_froc) is not None
    }
    return WholeScans(
        sentences=tuple(_sentence(split, metrics[split]) for split in metrics),
        metrics=tuple({split: _value(key, metrics[split], run.classes) for split in metrics} for key in keys),
        froc=froc_chart(curves, "froc-scans", operating=True) if curves else None,
        diameters={split: _diameters(_nodules(run, split), finite(metrics[split]["threshold"])) for split in metrics},
        groups=_groups(run),
    )


def displayed_points(run: RunContents) -> tuple[list[Case], list[Case]]:
    """The largest missed nodules and the most probable false positives of the first split, with those of their scans.

    Rows of the tables of `voxray.evaluation.finding_tables`; none where whole scans were not searched.
    """
    split = run.splits[0] if run.splits else ""
    if WHOLE_SCANS not in run.metrics.get(split, {}):
        return [], []
    nodules, findings = _nodules(run, split), run.detection[split].findings
    assert findings is not None
    threshold = finite(run.metrics[split][WHOLE_SCANS]["threshold"])
    missed = nodules.filter(pa.array(~_is_found(nodules, threshold)))
    false = findings.filter(pa.array(has_outcome(findings, FALSE_POSITIVE)))
    largest = missed.sort_by([("diameter_mm", "descending"), ("scan_id", "ascending"), ("z_mm", "ascending")])
    surest = false.sort_by([("probability", "descending"), ("scan_id", "ascending"), ("z_mm", "ascending")])
    return largest.slice(0, MOST_PICTURES).to_pylist(), surest.slice(0, MOST_PICTURES).to_pylist()


def displayed_scans(run: RunContents) -> list[Case]:
    """The scans of `displayed_points`, as rows of the store's index name them."""
    rows = [row for points in displayed_points(run) for row in points]
    return [{"scan_id": row["scan_id"], "path": row["path"], "label_path": None} for row in rows]


def headline(metrics: Mapping[str, Any]) -> str:
    """Whole scans in one sentence of a split's headline; empty where none was searched."""
    found = metrics.get(WHOLE_SCANS)
    if found is None or finite(found["proposal_sensitivity"]) is None:
        return ""
    nodules = found["nodules"]
    proposed = percent(round(found["proposal_sensitivity"] * nodules), nodules)
    text = f"In {count(found['scans'], 'whole scan')} {proposed} of {count(nodules, 'nodule')} are proposed"
    recall, false = finite(found["recall"]), finite(found["false_positives_per_scan"])
    if recall is not None and false is not None:
        text += f" and {percent(round(recall * nodules), nodules)} found with {false:.1f} false positives a scan"
    return f"{text}; CPM {found['cpm']:.3f}."


def _sentence(split: str, metrics: Mapping[str, Any]) -> str:
    nodules, sensitivity = metrics["nodules"], finite(metrics["proposal_sensitivity"])
    proposer = PROPOSERS.get(metrics["proposals"], metrics["proposals"])
    where = f"{SPLIT_NAMES[split]}, {count(metrics['scans'], 'whole scan')}"
    proposed = f"{metrics['proposals_per_scan']:,.0f} proposals a scan ({proposer})"
    if sensitivity is None:
        return f"{where}: {proposed}; no scan has a nodule."
    ends = metrics["intervals"]["proposal_sensitivity"]
    interval = f" [{interval_text(*ends)}]" if ends else ""
    hit = f"hit {round(sensitivity * nodules):,} of {count(nodules, 'nodule')}, {sensitivity:.3f}{interval}"
    without = metrics["scans_without_proposals"]
    lost = f" {count(without, 'scan')} without proposals, as without lungs." if without else ""
    point = operating_point_text(metrics)
    return f"{where}: {proposed} {hit}. The classifier cannot find the others.{lost} {point[0].upper()}{point[1:]}."


def _value(key: str, metrics: Mapping[str, Any], classes: Sequence[str]) -> MetricValue:
    value = metric_value(key, {**metrics, "level": "nodule"}, classes)
    label, description = LABELS.get(key, value.label), DESCRIPTIONS.get(key, value.description)
    return replace(value, label=label, description=description)


def _nodules(run: RunContents, split: str) -> pa.Table:
    nodules = run.detection[split].nodules
    assert nodules is not None
    return nodules


def _numbers(table: pa.Table, column: str) -> Floats:
    return np.asarray(table[column].to_numpy(), np.float64)


def _is_found(nodules: pa.Table, threshold: float | None) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Which nodules are found at the operating point; without one, which any finding hits."""
    return _numbers(nodules, "probability") >= (-np.inf if threshold is None else threshold)


def _diameters(nodules: pa.Table, threshold: float | None) -> list[ClassRow]:
    diameters = _numbers(nodules, "diameter_mm")
    proposed, found = np.isfinite(_numbers(nodules, "proposed")), _is_found(nodules, threshold)
    groups = [
        (name, (diameters >= low) & (diameters < high))
        for name, (low, high) in zip(RANGES_MM, pairwise((0.0, *DIAMETERS_MM, np.inf)), strict=True)
    ]
    groups += [("not known", diameters < 0)] if (diameters < 0).any() else []
    shares = [
        (name, [f"{rows.sum():,}", *(_share(which[rows]) for which in (proposed, found))])
        for name, rows in [*groups, ("all", np.ones(len(diameters), bool))]
    ]
    rows_of_text = [("Diameter", ["Nodules", "Proposed", "Found"]), *shares]
    return [ClassRow(title, cells, [None] * len(cells)) for title, cells in rows_of_text]


def _share(which: np.ndarray[Any, np.dtype[np.bool_]]) -> str:
    return f"{which.sum():,} ({percent(int(which.sum()), len(which))})"


def _groups(run: RunContents) -> tuple[PointGroup, ...]:
    split = run.splits[0]
    if WHOLE_SCANS not in run.metrics[split]:
        return ()
    metrics, where = run.metrics[split][WHOLE_SCANS], SPLIT_NAMES[split].lower()
    threshold = finite(metrics["threshold"])
    missed, false = displayed_points(run)
    nodules = _nodules(run, split)
    total = int((~_is_found(nodules, threshold)).sum())
    never = int(np.isnan(_numbers(nodules, "proposed")).sum())
    shown = f"; the {len(missed)} largest are displayed" if total > len(missed) else ""
    first = f", {never:,} of them were not proposed{shown}"
    outcomes = [_why_missed(row, threshold) for row in missed], [_how_probable(row, threshold) for row in false]
    at = "at the operating point" if threshold is not None else "by any finding"
    titles = (
        (f"Missed nodules, {where}", f"{total:,} of {count(metrics['nodules'], 'nodule')} are not found {at}{first}"),
        (f"False positives, {where}", f"The {len(false)} most probable findings that hit nothing annotated"),
    )
    pictures = _pictures(run, [*missed, *false])
    if isinstance(pictures, str):
        return tuple(PointGroup(*title, (), pictures) for title in titles)
    cases = [
        PointPicture(str(row["scan_id"]), shorten_id(str(row["scan_id"])), _place(row), outcome, uri)
        for row, outcome, uri in zip([*missed, *false], [*outcomes[0], *outcomes[1]], pictures, strict=True)
    ]
    return (
        PointGroup(*titles[0], tuple(cases[: len(missed)])),
        PointGroup(*titles[1], tuple(cases[len(missed) :])),
    )


def _why_missed(nodule: Case, threshold: float | None) -> str:
    if np.isnan(nodule["proposed"]):
        return "not proposed"
    if np.isnan(nodule["probability"]):
        return f"proposed, p = {probability(nodule['proposed'])}, and merged with a more probable finding beside it"
    return f"proposed, p = {probability(nodule['probability'])}, below the operating point {probability(threshold)}"


def _how_probable(finding: Case, threshold: float | None) -> str:
    below = threshold is not None and finding["probability"] < threshold
    return f"p = {probability(finding['probability'])}{', below the operating point' if below else ''}"


def _place(row: Case) -> str:
    size = "" if row["diameter_mm"] < 0 or np.isnan(row["diameter_mm"]) else f"{row['diameter_mm']:.1f} mm at "
    return minus(f"{size}x {row['x_mm']:.1f}, y {row['y_mm']:.1f}, z {row['z_mm']:.1f} mm")


def _pictures(run: RunContents, rows: Sequence[Case]) -> list[str] | str:
    """Three planes through each point, or why there are none; each scan is opened once."""
    if run.scan_problem:
        return run.scan_problem
    volumes, pictures = {}, []
    try:
        for row, scan in zip(rows, displayed_scans(run), strict=True):
            name = row["scan_id"]
            if name not in volumes:
                ((file, _),) = files_of(run.experiment, [scan])
                volumes[name] = open_scan(file)
            center, diameter = np.array([row[f"{axis}_mm"] for axis in "xyz"]), float(row["diameter_mm"])
            picture = point_picture(volumes[name], center, diameter, LUNG_WINDOW_HU)
            pictures.append(data_uri("png", picture))
    except (VoxrayError, OSError) as error:
        return public_problem(run.experiment, error)
    return pictures
