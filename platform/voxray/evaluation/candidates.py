"""Evaluation of the candidates of a list as a detection: FROC and CPM against annotated nodules, as in LUNA16."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.datasets.annotated import is_annotated, number_scans, points_of, read_truth
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.detection import GRID, Candidates
from voxray.metrics.detection_score import FrocScore, score_candidates
from voxray.storage.paths import AnyPath
from voxray.store.layout import write_parquet

FROC = "froc"  # key of a curve, which is written to a file of its own and not to metrics.json


def scan_patients(rows: pa.Table, scans: pa.Array | pa.ChunkedArray, count: int) -> Ints:
    """The patient of each of `count` scans, from 0, by rows with `scan_id` and `patient_id`.

    The first are `scans`; one beyond, which no row names, is that of a patient of its own.
    """
    owner = dict(zip(rows["scan_id"].to_pylist(), rows["patient_id"].to_pylist(), strict=True))
    named = [owner[scan] for scan in scans.to_pylist()]
    patients = np.unique(np.array(named, dtype=str), return_inverse=True)[1]
    others = np.arange(count - len(named)) + patients.max(initial=-1) + 1
    return np.concatenate([patients, others]).astype(np.int64)


def with_detection(
    metrics: Mapping[str, Any], experiment: Experiment, rows: pa.Table, probabilities: Floats
) -> dict[str, Any]:
    """The metrics of a split, with ``cpm`` and ``sensitivity_at/RATE`` where its nodules are annotated.

    Parameters
    ----------
    metrics : mapping
    experiment : Experiment
    rows : pyarrow.Table
        The patches of a split, all of the list's candidates: `scan_id`, `patient_id`, `x_mm`, `y_mm` and `z_mm`
        (world RAS). Each of its scans counts, also without a nodule.
    probabilities : ndarray, (n,)
        Of the class that is searched for.
    """
    if not is_annotated(experiment):
        return dict(metrics)
    scans, numbers = number_scans(rows)
    candidates = Candidates(numbers, points_of(rows), probabilities)
    patients = scan_patients(rows, scans, len(scans))
    truth = read_truth(experiment, scans)
    score = score_candidates(candidates, *truth, len(scans), patients=patients, seed=experiment.seed)
    found = froc_metrics(score)
    found["dropped_as_excluded"] = score.dropped_as_excluded
    return {**metrics, **found, "intervals": {**metrics["intervals"], **found["intervals"]}}


def froc_metrics(score: FrocScore) -> dict[str, Any]:
    """A score as ``metrics.json`` has it, and its curve."""
    sensitivities = {f"sensitivity_at/{rate}": value for rate, value in score.sensitivity_at.items()}
    if not score.nodules:
        sensitivities = dict.fromkeys(sensitivities, math.nan)
    intervals = {f"sensitivity_at/{rate}": ends for rate, ends in score.sensitivity_intervals.items()}
    low, high = score.band or (np.full(len(GRID), math.nan),) * 2
    curve = {
        "false_positives_per_scan": GRID,
        "sensitivity": score.curve.sensitivity_at(GRID),
        "low": low,
        "high": high,
    }
    return {
        "cpm": score.cpm,
        **sensitivities,
        "nodules": score.nodules,
        FROC: pa.table(curve) if score.nodules else None,
        "intervals": {"cpm": score.cpm_interval, **intervals},
    }


def write_froc(metrics: Mapping[str, Any], file: AnyPath) -> dict[str, Any]:
    """Write the curve of the metrics of a split, where there is one; returns the metrics without it."""
    if (curve := metrics.get(FROC)) is not None:
        write_parquet(curve, file)
    return {key: value for key, value in metrics.items() if key != FROC}
