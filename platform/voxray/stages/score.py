"""Score: from lists of candidates and the truth to FROC and CPM. No scan is read."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.point_lists import CANDIDATES, number_points, read_annotations, read_candidates, read_series
from voxray.errors import DataError
from voxray.metrics.detection import Annotations, Candidates, match_candidates, most_probable
from voxray.metrics.detection_score import MIN_SCANS, DetectionScore, score_candidates
from voxray.reporting.text.numbers import count
from voxray.storage.paths import AnyPath

POINT = ["scan_id", "x_mm", "y_mm", "z_mm"]
# What a list of other conventions holds where LPS is expected, as axes and signs of points in RAS.
CONVENTIONS = {"in RAS": ((0, 1, 2), (-1, -1, 1)), "in the order z, y, x": ((2, 1, 0), (-1, 1, -1))}
LOW_SENSITIVITY = 0.5  # of a whole list; below, other conventions are tried


@dataclass(frozen=True)
class ScoreInputs:
    """What is scored.

    Attributes
    ----------
    lists : sequence of path
        Candidates with probabilities, together one list.
    truth : path
        Nodules.
    excluded : path, optional
        Findings that count neither way.
    series : path, optional
        All scans that count; by default those of truth and lists.
    marks_per_scan : int, optional
        Only so many candidates of a scan count, the most probable ones.
    """

    lists: Sequence[AnyPath]
    truth: AnyPath
    excluded: AnyPath | None = None
    series: AnyPath | None = None
    marks_per_scan: int | None = None


def score(inputs: ScoreInputs) -> tuple[DetectionScore, list[str]]:
    """The score, and notes on what looks like a mistake in the lists.

    Raises
    ------
    DataError
        A list that cannot be read or has values that are no numbers; no scans.
    """
    tables = [read_candidates(path) for path in inputs.lists]
    truth = read_annotations(inputs.truth)
    other = read_annotations(inputs.excluded) if inputs.excluded else truth.slice(0, 0)
    listed = pa.concat_tables([CANDIDATES.empty_table(), *tables])
    scans, unscored = _scan_names(inputs, listed, truth), listed["probability"].null_count
    listed = listed.filter(pc.is_valid(listed["probability"]))
    candidates = Candidates(*number_points(listed, scans))
    nodules, excluded = (Annotations(*number_points(table, scans)) for table in (truth, other))
    if inputs.marks_per_scan is not None:
        candidates = candidates.select(most_probable(candidates, inputs.marks_per_scan))
    result = score_candidates(candidates, nodules, excluded, len(scans))
    notes = [
        *_series_notes(inputs, scans, listed, truth, other),
        *([f"{count(unscored, 'candidate')} without a probability: skipped"] if unscored else []),
        *_list_notes(inputs, tables, listed),
        *_truth_notes(inputs, truth, nodules),
        *_coordinate_notes(candidates, nodules, excluded, result.matches.sensitivity),
    ]
    return result, notes


def _scan_names(inputs: ScoreInputs, listed: pa.Table, truth: pa.Table) -> pa.Array:
    if inputs.series:
        return pa.array(read_series(inputs.series), pa.string())
    names = pa.concat_tables([truth.select(["scan_id"]), listed.select(["scan_id"])])["scan_id"].unique()
    if not len(names):
        raise DataError(str(inputs.truth), "neither the truth nor a list names a scan", "Name all scans with --series")
    return names


def _series_notes(
    inputs: ScoreInputs, scans: pa.Array, listed: pa.Table, truth: pa.Table, excluded: pa.Table
) -> Iterator[str]:
    """Series of one file that another one lacks."""
    named = "--series" if inputs.series else "the truth and the lists"
    for table, file, noun in (
        (listed, "the lists", "candidates"),
        (truth, inputs.truth.name, "nodules"),
        (excluded, inputs.excluded.name if inputs.excluded else "", "excluded findings"),
    ):
        lost = table.filter(pc.invert(pc.is_in(table["scan_id"], value_set=scans)))
        if lost.num_rows:
            series = len(lost["scan_id"].unique())
            yield f"{series:,} series of {file} are not among those of {named}: {lost.num_rows:,} {noun} do not count"
    without = len(scans) - pc.sum(pc.is_in(scans, value_set=listed["scan_id"].unique())).as_py()
    if without:
        yield f"{without:,} of {len(scans):,} scans have no candidate"


def _list_notes(inputs: ScoreInputs, tables: Sequence[pa.Table], listed: pa.Table) -> Iterator[str]:
    """Lists without rows, and candidates that count more than once."""
    empty = [path.name for path, table in zip(inputs.lists, tables, strict=True) if not table.num_rows]
    if empty:
        also = "" if inputs.series else "; --series can name their scans, so that they count"
        yield f"{len(empty):,} of {len(tables):,} lists have no rows, such as {empty[0]}{also}"
    owners = Counter(name for table in tables for name in table["scan_id"].unique().to_pylist())
    shared = [name for name, lists in owners.items() if lists > 1]
    if shared:
        yield f"{len(shared):,} series are in several lists, such as {shared[0]}: the candidates of all lists count"
    repeated = _repeated(listed)
    if repeated:
        yield f"{repeated:,} candidates repeat a point of their series: each counts"


def _truth_notes(inputs: ScoreInputs, truth: pa.Table, nodules: Annotations) -> Iterator[str]:
    """Nodules that cannot be hit or count twice, and too few of them."""
    points = int((nodules.diameters_mm == 0).sum())
    if points:
        yield f"{points:,} nodules of {inputs.truth.name} have a diameter of 0: no candidate hits them"
    repeated = _repeated(truth)
    if repeated:
        yield f"{repeated:,} nodules of {inputs.truth.name} repeat a point of their series: each counts"
    if not len(nodules):
        yield "these scans have no nodules, so that sensitivity is undefined"
    elif len(np.unique(nodules.scans)) < MIN_SCANS:
        yield f"fewer than {MIN_SCANS} scans have nodules, too few for intervals"


def _repeated(table: pa.Table) -> int:
    """Rows at the point of an earlier row."""
    return int(table.num_rows - table.group_by(POINT).aggregate([]).num_rows)


def _coordinate_notes(
    candidates: Candidates, nodules: Annotations, excluded: Annotations, sensitivity: float
) -> Iterator[str]:
    """Whether a list that hits few nodules is in other coordinates than LPS millimeters."""
    if not len(candidates) or not sensitivity < LOW_SENSITIVITY:
        return
    found = round(sensitivity * len(nodules))
    for name, (axes, signs) in CONVENTIONS.items():
        moved = replace(candidates, points_mm=candidates.points_mm[:, axes] * signs)
        others = int(match_candidates(moved, nodules, excluded).found.sum())
        if others > 2 * found + 1:
            yield (
                f"the coordinates seem to be {name}: as they are they hit {found:,} of {len(nodules):,} nodules, "
                f"converted from this {others:,}. Expected LPS in millimeters, x, y, z"
            )
    in_lps = (-1, -1, 1)
    lowest = [np.min(each.points_mm * in_lps, initial=0) for each in (candidates, nodules)]
    if lowest[0] >= 0 > lowest[1]:
        yield "no coordinate of the candidates is negative, those of nodules are: voxels instead of LPS in millimeters?"
