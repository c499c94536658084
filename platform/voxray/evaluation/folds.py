"""Cross-validation: the metrics of all patients, each predicted by the model of the fold that tests the patient."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.evaluation.calibration import uncalibrated_error
from voxray.evaluation.candidates import write_froc
from voxray.evaluation.finding_tables import summarize_findings
from voxray.evaluation.findings import WHOLE_SCANS
from voxray.evaluation.mix import read_mix
from voxray.evaluation.patches import unit_metrics
from voxray.evaluation.scans import summarize_scans
from voxray.metrics.aggregate import aggregate_predictions, without_calibration
from voxray.metrics.calibration import Calibration
from voxray.metrics.compute import without_nan
from voxray.runs.folder import run_folder
from voxray.runs.read import read_findings, read_metrics, read_predictions
from voxray.storage.atomic import write_json
from voxray.store.layout import write_parquet
from voxray.store.read import open_store


def join_folds(experiment: Experiment, folds: Sequence[Experiment]) -> dict[str, Any]:
    """Join the test predictions of all folds: every patient once, at the operating point of the fold.

    Writes ``predictions/test.parquet`` with a column ``fold``, its number, and ``metrics.json`` in the folder of the
    cross-validation; there ``folds`` holds the metrics of each fold.

    Returns the content of ``metrics.json``.
    """
    tables = [read_predictions(run_folder(fold), "test") for fold in folds]
    fold_metrics = [read_metrics(run_folder(fold))["test"] for fold in folds]
    table = pa.concat_tables([_with_fold(table, fold) for fold, table in enumerate(tables)])
    if "probabilities" in table.column_names:
        units = aggregate_predictions(table, experiment.evaluation.level)
        # NaN for a fold without an operating point.
        thresholds = np.array([metrics["threshold"] for metrics in fold_metrics], np.float64)
        by_row = None if np.isnan(thresholds).any() else thresholds[units["fold"].to_numpy()]
        populations = [open_store(fold.store_path).info.population.get("test") for fold in folds]
        joined = unit_metrics(experiment, units, by_row, list(fold_metrics[0]["classes"]), populations)
        joined = write_froc(joined, run_folder(experiment).froc("test"))
        if all(WHOLE_SCANS in metrics for metrics in fold_metrics):
            joined[WHOLE_SCANS] = _join_whole_scans(experiment, folds, fold_metrics)
        if experiment.evaluation.calibrate:
            joined["calibration"] = _calibration(experiment, tables, fold_metrics, populations)
    else:
        joined = summarize_scans(table.drop_columns(["fold"]).to_pylist())
    joined["folds"] = _by_fold(joined, fold_metrics)
    if population := joined.get("population"):
        # A fold that lost no negative has the list's own mix.
        population["folds"] = _by_fold(population, [metrics.get("population", metrics) for metrics in fold_metrics])
    content = without_nan({"test": joined})
    folder = run_folder(experiment)
    write_parquet(_with_fold_numbers(table, folds), folder.predictions("test"))
    write_json(folder.experiment, experiment.model_dump(mode="json"))
    write_json(folder.metrics, content)
    return content


def _join_whole_scans(
    experiment: Experiment, folds: Sequence[Experiment], fold_metrics: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """The metrics of all scans, each searched by the network of its fold; writes the tables of all folds."""
    folder, metrics = run_folder(experiment), [of_fold[WHOLE_SCANS] for of_fold in fold_metrics]
    tables = [read_findings(run_folder(fold), "test") for fold in folds]
    findings, nodules = (
        pa.concat_tables([_with_fold(table, fold) for fold, table in enumerate(each)], promote_options="default")
        for each in zip(*tables, strict=True)
    )
    thresholds = np.array([of_fold["threshold"] for of_fold in metrics], np.float64)
    scans = sum(of_fold["scans"] for of_fold in metrics)
    joined = summarize_findings(findings, nodules, scans, thresholds.tolist(), experiment.seed)
    for table, file in ((findings, folder.findings("test")), (nodules, folder.nodules("test"))):
        write_parquet(_with_fold_numbers(table, folds), file)
    constant = {name: metrics[0][name] for name in ("proposals", "max_false_positives_per_scan")}
    joined = {**constant, **write_froc(joined, folder.findings_froc("test")), "thresholds": thresholds.tolist()}
    return {**joined, "folds": _by_fold(joined, metrics)}


def _by_fold(joined: Mapping[str, Any], folds: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The value of each fold for each metric with an interval."""
    return {name: [metrics[name] for metrics in folds] for name in joined["intervals"] if name in folds[0]}


def _calibration(
    experiment: Experiment,
    tables: Sequence[pa.Table],
    fold_metrics: Sequence[Mapping[str, Any]],
    populations: Sequence[Mapping[str, Any] | None],
) -> dict[str, Any]:
    """The temperature of each fold, and the calibration error of all patients without calibration."""
    records = [Calibration.from_record(metrics["calibration"]) for metrics in fold_metrics]
    before = [
        _with_fold(without_calibration(table, record), fold)
        for fold, (table, record) in enumerate(zip(tables, records, strict=True))
    ]
    units = aggregate_predictions(pa.concat_tables(before), experiment.evaluation.level)
    error = uncalibrated_error(units, read_mix(populations, units, experiment.evaluation.level).weights)
    return {"temperatures": [record.temperature for record in records], **error}


def _with_fold_numbers(table: pa.Table, folds: Sequence[Experiment]) -> pa.Table:
    """The table with the numbers of the folds instead of their positions."""
    numbers = pa.array([fold.split.fold for fold in folds], pa.int32())
    return table.set_column(table.column_names.index("fold"), "fold", numbers.take(table["fold"]))


def _with_fold(table: pa.Table, fold: int) -> pa.Table:
    return table.append_column("fold", pa.array([fold] * table.num_rows, pa.int32()))
