"""Evaluation of the candidates of a list as a detection: FROC and CPM against annotated nodules, as in LUNA16."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.experiment import Experiment
from voxray.datasets.layouts import find_layout
from voxray.datasets.point_lists import number_points, read_annotations
from voxray.metrics.curves import Floats
from voxray.metrics.detection import Annotations, Candidates
from voxray.metrics.detection_score import DetectionScore, score_candidates
from voxray.privacy import pseudonym
from voxray.storage.paths import AnyPath, exists


def score_predictions(experiment: Experiment, rows: pa.Table, probabilities: Floats) -> DetectionScore | None:
    """The score of the candidates of a split; None where the data set's folder has no list of annotations.

    Parameters
    ----------
    experiment : Experiment
    rows : pyarrow.Table
        The patches of a split, all of the list's candidates: `scan_id`, `x_mm`, `y_mm` and `z_mm` (world RAS). Each of
        its scans counts, also without a nodule.
    probabilities : ndarray, (n,)
        Of the class that is searched for.
    """
    nodules, *excluded = (experiment.data_path / name for name in find_layout(experiment.data.layout).annotations)
    if not exists(nodules):
        return None
    scans = rows["scan_id"].unique()
    numbers = np.asarray(pc.index_in(rows["scan_id"], value_set=scans).to_numpy(), np.int64)
    points = np.column_stack([np.asarray(rows[f"{axis}_mm"].to_numpy(), np.float64) for axis in "xyz"])
    candidates = Candidates(numbers, points, probabilities)
    key = experiment.privacy.read_key()
    truth = _annotations(nodules, scans, key)
    other = [_annotations(path, scans, key) for path in excluded if exists(path)]
    none = Annotations(np.zeros(0, np.int64), np.zeros((0, 3)), np.zeros(0))
    return score_candidates(candidates, truth, next(iter(other), none), len(scans), seed=experiment.seed)


def with_detection(
    metrics: Mapping[str, Any], experiment: Experiment, rows: pa.Table, probabilities: Floats
) -> dict[str, Any]:
    """The metrics of a split, with ``cpm`` and ``sensitivity_at/RATE`` where its nodules are annotated."""
    score = score_predictions(experiment, rows, probabilities)
    if score is None:
        return dict(metrics)
    sensitivities = {f"sensitivity_at/{rate}": value for rate, value in score.sensitivity_at.items()}
    intervals = {f"sensitivity_at/{rate}": ends for rate, ends in score.sensitivity_intervals.items()}
    if not score.nodules:
        sensitivities = dict.fromkeys(sensitivities, math.nan)
    return {
        **metrics,
        "cpm": score.cpm,
        **sensitivities,
        "nodules": score.nodules,
        "dropped_as_excluded": score.dropped_as_excluded,
        "intervals": {**metrics["intervals"], "cpm": score.cpm_interval, **intervals},
    }


def _annotations(path: AnyPath, scans: pa.ChunkedArray, key: bytes | None) -> Annotations:
    """Those of the scans, which are numbered as `scans` lists them; by their pseudonyms where there is a key."""
    table = read_annotations(path)
    if key is not None:
        hidden = [pseudonym(key, "scan", name) for name in table["scan_id"].to_pylist()]
        table = table.set_column(0, "scan_id", pa.array(hidden, pa.string()))
    return Annotations(*number_points(table, scans))
