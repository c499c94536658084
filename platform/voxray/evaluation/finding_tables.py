"""What was found in whole scans, against their annotated nodules: tables, and the metrics that follow from them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.datasets.annotated import read_truth
from voxray.evaluation.candidates import froc_metrics, scan_patients
from voxray.metrics.curves import Floats, Ints, ratio
from voxray.metrics.detection import Bools, Candidates, Entries, match_candidates
from voxray.metrics.detection_score import ratio_interval, score_entries
from voxray.metrics.proportions import Interval

Case = dict[str, Any]

SCAN_COLUMNS = ("scan_id", "patient_id", "path")
OUTCOMES = ("hit", "repeated hit", "excluded", "false positive", "merged")  # of a proposal
HIT, REPEATED, EXCLUDED, FALSE_POSITIVE, MERGED = range(len(OUTCOMES))


def match_scans(experiment: Experiment, cases: Sequence[Case]) -> tuple[pa.Table, pa.Table]:
    """What was found in scans, against their annotations.

    Parameters
    ----------
    experiment : Experiment
    cases : sequence of dict
        A searched scan each, see `voxray.evaluation.findings.searched_scans`.

    Returns
    -------
    findings : pyarrow.Table
        A row for each proposal: scan_id, patient_id, path, x_mm, y_mm, z_mm (world RAS), diameter_mm, probability and
        `outcome`, one of OUTCOMES; a merged one is no finding.
    nodules : pyarrow.Table
        A row for each nodule: the same places with its own diameter, and the highest probability of the findings
        (`probability`) and of the proposals (`proposed`) that hit it, NaN where none does.
    """
    scan_columns = {key: pa.array([case[key] for case in cases], pa.string()) for key in SCAN_COLUMNS}
    owners = np.repeat(np.arange(len(cases)), [len(case["probabilities"]) for case in cases]).astype(np.int64)
    points, diameters, probabilities, kept = (
        np.concatenate([case[key] for case in cases]) for key in ("centers_mm", "diameters_mm", "probabilities", "kept")
    )
    nodules, excluded = read_truth(experiment, scan_columns["scan_id"])
    proposals, rows = Candidates(owners, points, probabilities), np.flatnonzero(kept)
    of_proposals = match_candidates(proposals, nodules, excluded)
    matches = match_candidates(proposals.select(rows), nodules, excluded)
    outcomes = np.full(len(owners), MERGED)
    outcomes[rows] = REPEATED
    outcomes[rows[matches.excluded]] = EXCLUDED
    outcomes[rows[matches.false_positive]] = FALSE_POSITIVE
    outcomes[rows[matches.found_by[matches.found]]] = HIT

    def table(scans: Ints, points_mm: Floats, **columns: Any) -> pa.Table:
        places = {f"{axis}_mm": points_mm[:, number] for number, axis in enumerate("xyz")}
        return pa.table({**{key: names.take(scans) for key, names in scan_columns.items()}, **places, **columns})

    named = pa.array(OUTCOMES).take(pa.array(outcomes))
    findings = table(owners, points, diameter_mm=diameters, probability=probabilities, outcome=named)
    best = {"probability": _best(probabilities[rows], matches.found_by)}
    best["proposed"] = _best(probabilities, of_proposals.found_by)
    return findings, table(nodules.scans, nodules.points_mm, diameter_mm=nodules.diameters_mm, **best)


def find_entries(findings: pa.Table, nodules: pa.Table) -> Entries:
    """What makes the FROC curve of these tables; scans are numbered as `_scan_names` lists them."""
    names, probabilities = _scan_names(findings, nodules), _numbers(nodules, "probability")
    found, false = np.isfinite(probabilities), has_outcome(findings, FALSE_POSITIVE)
    nodule_scans = _positions(nodules, names)
    return Entries(
        np.concatenate([nodule_scans[found], _positions(findings, names)[false]]),
        np.arange(found.sum() + false.sum()) < found.sum(),
        np.concatenate([probabilities[found], _numbers(findings, "probability")[false]]),
        nodule_scans,
    )


def summarize_findings(
    findings: pa.Table, nodules: pa.Table, scans: int, thresholds: Sequence[float], seed: int
) -> dict[str, Any]:
    """The metrics of whole scans, and the curve of their findings.

    Parameters
    ----------
    findings, nodules : pyarrow.Table
        From `match_scans`; of several folds with a column `fold`, their positions.
    scans : int
        All that were searched.
    thresholds : sequence of float
        The operating point of each fold; NaN where there is none.
    seed : int
    """
    names = _scan_names(findings, nodules)
    nodule_scans, finding_scans = _positions(nodules, names), _positions(findings, names)
    per_scan = np.bincount(nodule_scans, minlength=scans).astype(np.float64)
    rows = pa.concat_tables([each.select(["scan_id", "patient_id"]) for each in (findings, nodules)])
    patients = scan_patients(rows, names, scans)

    def share(owners: Ints, *, of_nodules: bool) -> tuple[float, Interval | None]:
        """How many there are for each nodule, or scan; `owners` are their scans."""
        parts = np.bincount(owners, minlength=scans).astype(np.float64)
        wholes = per_scan if of_nodules else np.ones(scans)
        interval = ratio_interval(parts, wholes, patients, is_share=of_nodules, seed=seed)
        return float(ratio(parts.sum(), wholes.sum())), interval

    proposed = np.isfinite(_numbers(nodules, "proposed"))
    before = {
        "proposal_sensitivity": share(nodule_scans[proposed], of_nodules=True),
        "proposals_per_scan": share(finding_scans, of_nodules=False),
    }
    after: dict[str, tuple[float, Interval | None]]
    if np.isnan(thresholds).any():
        after = dict.fromkeys(("false_positives_per_scan", "recall"), (math.nan, None))
    else:
        false = has_outcome(findings, FALSE_POSITIVE) & is_above(findings, thresholds)
        after = {
            "false_positives_per_scan": share(finding_scans[false], of_nodules=False),
            "recall": share(nodule_scans[is_above(nodules, thresholds)], of_nodules=True),
        }
    curve = froc_metrics(score_entries(find_entries(findings, nodules), scans, patients=patients, seed=seed))
    return {
        **_parts(before, 0),
        **curve,
        **_parts(after, 0),
        "scans": scans,
        "scans_without_proposals": scans - len(findings["scan_id"].unique()),
        "findings": findings.num_rows - int(has_outcome(findings, MERGED).sum()),
        "dropped_as_excluded": int(has_outcome(findings, EXCLUDED).sum()),
        "intervals": {**_parts(before, 1), **curve["intervals"], **_parts(after, 1)},
    }


def has_outcome(findings: pa.Table, outcome: int) -> Bools:
    """Which findings have one of OUTCOMES, (n,)."""
    return np.asarray(pc.equal(findings["outcome"], OUTCOMES[outcome]).to_numpy(), bool)


def _parts(measured: Mapping[str, tuple[float, Interval | None]], position: int) -> dict[str, Any]:
    return {name: pair[position] for name, pair in measured.items()}


def is_above(table: pa.Table, thresholds: Sequence[float]) -> Bools:
    """Which rows are at or above the operating point of their fold; not those without a probability."""
    folds = table["fold"].to_numpy() if "fold" in table.column_names else np.zeros(table.num_rows, np.int64)
    above: Bools = _numbers(table, "probability") >= np.asarray(thresholds)[folds]
    return above


def _scan_names(findings: pa.Table, nodules: pa.Table) -> pa.Array:
    return pa.concat_tables([findings.select(["scan_id"]), nodules.select(["scan_id"])])["scan_id"].unique()


def _positions(table: pa.Table, names: pa.Array) -> Ints:
    return np.asarray(pc.index_in(table["scan_id"], value_set=names).to_numpy(), np.int64)


def _numbers(table: pa.Table, column: str) -> Floats:
    return np.asarray(table[column].to_numpy(), np.float64)


def _best(probabilities: Floats, found_by: Ints) -> Floats:
    """The probability of the candidate that finds each nodule; NaN for none."""
    best: Floats = np.append(probabilities, math.nan)[found_by]  # -1 is the last
    return best
