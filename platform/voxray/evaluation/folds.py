"""Cross-validation: a run for each fold, and the figures of all patients, each judged by the model of its fold."""

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.config.experiment import Experiment
from voxray.evaluation.patches import unit_metrics
from voxray.evaluation.scans import summarize_scans
from voxray.metrics.aggregate import aggregate_predictions
from voxray.metrics.compute import without_nan
from voxray.metrics.curves import Floats
from voxray.runs.folder import run_folder
from voxray.storage.atomic import write_json
from voxray.storage.paths import read_bytes
from voxray.store.layout import read_parquet, write_parquet


def join_folds(experiment: Experiment, folds: Sequence[Experiment]) -> dict[str, Any]:
    """Put the test predictions of all folds together: every patient once, at the operating point of its fold.

    Writes ``predictions/test.parquet`` with a column ``fold``, and ``metrics.json`` in the folder of the
    cross-validation; there ``folds`` holds the figures of each.

    Returns
    -------
    dict
        The content of ``metrics.json``.
    """
    tables = [read_parquet(run_folder(each).predictions("test")) for each in folds]
    single = [json.loads(read_bytes(run_folder(each).metrics))["test"] for each in folds]
    numbers = np.repeat(np.arange(len(folds)), [table.num_rows for table in tables])
    table = pa.concat_tables(tables).append_column("fold", pa.array(numbers, pa.int32()))
    if "probabilities" in table.column_names:
        units = aggregate_predictions(table, experiment.evaluation.level)
        joined = unit_metrics(experiment, units, _own_thresholds(units, [each["threshold"] for each in single]))
    else:
        joined = summarize_scans(experiment, table.drop_columns(["fold"]).to_pylist())
    names = [name for name in joined["intervals"] if name in single[0]]
    content = without_nan({"test": {**joined, "folds": {name: [each[name] for each in single] for name in names}}})
    folder = run_folder(experiment)
    write_parquet(table, folder.predictions("test"))
    write_json(folder.experiment, experiment.model_dump(mode="json"))
    write_json(folder.metrics, content)
    return content


def _own_thresholds(units: pa.Table, thresholds: list[float | None]) -> Floats | None:
    """The operating point of each unit, that of its fold; None where a fold has none."""
    known = [threshold for threshold in thresholds if threshold is not None]
    return np.array(known)[units["fold"].to_numpy()] if len(known) == len(thresholds) else None
