"""Cross-validation: a run for each fold, and the figures of all patients, each judged by the model of its fold."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from voxray.config.experiment import Experiment
from voxray.evaluation.classification import bootstrap_intervals, figures, without_nan
from voxray.runs.folder import run_folder, write_json
from voxray.runs.judge_scans import scan_metrics
from voxray.store.layout import write_parquet


def fold_experiments(experiment: Experiment) -> list[Experiment]:
    """An experiment for each fold, in folders ``fold_0``, ``fold_1``, … of the run and of the store."""
    content = experiment.model_dump(mode="json")
    experiments = []
    for fold in range(experiment.split.folds or 0):
        name = f"fold_{fold}"
        path = f"{experiment.store.path}/{name}" if experiment.store.path else None
        experiments.append(
            Experiment.model_validate(
                content
                | {"name": f"{experiment.name}_{name}", "out": f"{experiment.out}/{name}"}
                | {"split": content["split"] | {"fold": fold}, "store": content["store"] | {"path": path}}
            )
        )
    return experiments


def join_folds(experiment: Experiment, folds: Sequence[Experiment]) -> dict[str, Any]:
    """Put the test predictions of all folds together: every patient once, at the operating point of its fold.

    Writes ``predictions/test.parquet`` with a column ``fold``, and ``metrics.json`` in the folder of the
    cross-validation; there ``folds`` holds the figures of each.

    Returns
    -------
    dict
        The content of ``metrics.json``.
    """
    tables = [pq.read_table(run_folder(each).predictions("test")) for each in folds]
    single = [json.loads(run_folder(each).metrics.read_text(encoding="utf-8"))["test"] for each in folds]
    numbers = np.repeat(np.arange(len(folds)), [table.num_rows for table in tables])
    table = pa.concat_tables(tables).append_column("fold", pa.array(numbers, pa.int32()))
    if "probabilities" in table.column_names:
        joined = _patch_metrics(experiment, table, [each["threshold"] for each in single])
    else:
        joined = scan_metrics(experiment, table.drop_columns(["fold"]).to_pylist())
    names = [name for name in joined["intervals"] if name in single[0]]
    content = without_nan({"test": {**joined, "folds": {name: [each[name] for each in single] for name in names}}})
    folder = run_folder(experiment)
    write_parquet(table, folder.predictions("test"))
    write_json(folder.experiment, experiment.model_dump(mode="json"))
    write_json(folder.metrics, content)
    return content


def _patch_metrics(experiment: Experiment, table: pa.Table, thresholds: list[float | None]) -> dict[str, Any]:
    labels, probabilities = table["label"].to_numpy(), np.array(table["probabilities"].to_pylist())
    known = [threshold for threshold in thresholds if threshold is not None]
    own = np.array(known)[table["fold"].to_numpy()] if len(known) == len(thresholds) else None
    patients = np.asarray(table["patient_id"].to_pylist(), dtype=str)
    repeats = experiment.evaluation.bootstrap
    return {
        **figures(labels, probabilities, own),
        "patients": len(np.unique(patients)),
        "intervals": bootstrap_intervals(labels, probabilities, patients, own, repeats, experiment.seed),
    }
