"""Predictions of patches, or of scans and patients by the mean of their patches."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.errors import DataError, WorkError
from voxray.metrics.calibration import Calibration
from voxray.metrics.curves import Floats, Ints

PATCH, SCAN, PATIENT = "patch", "scan", "patient"


def aggregate_predictions(table: pa.Table, level: str) -> pa.Table:
    """Predictions at the level that is evaluated.

    Parameters
    ----------
    table : pyarrow.Table
        A row for each patch, with `scan_id`, `patient_id`, `label` and `probabilities`.
    level : str
        ``patch``, or ``scan`` or ``patient``, whose probabilities are the means over its patches.

    Returns
    -------
    pyarrow.Table
        A row for each patch, scan or patient; the row of a scan or patient is that of its middle patch.

    Raises
    ------
    DataError
        A scan or patient has patches of different classes.
    """
    if level not in (SCAN, PATIENT) or table.num_rows == 0:
        return table
    member = level_members(table, level)
    check_one_class_each(np.asarray(table[f"{level}_id"].to_pylist(), dtype=str), table["label"].to_numpy())
    counts = np.bincount(member)
    _, probabilities = labels_and_probabilities(table)
    means = np.zeros((len(counts), probabilities.shape[1]))
    np.add.at(means, member, probabilities)
    means /= counts[:, np.newaxis]
    by_owner = np.argsort(member, kind="stable")
    middle = by_owner[np.cumsum(counts) - counts + counts // 2]
    column = table.column_names.index("probabilities")
    values = pa.array(means.tolist(), pa.list_(pa.float64()))
    return table.take(pa.array(middle)).set_column(column, "probabilities", values)


def level_members(table: pa.Table, level: str) -> Ints:
    """Which row of `aggregate_predictions` each patch (n,) is part of."""
    if level not in (SCAN, PATIENT):
        return np.arange(table.num_rows)
    owners = np.asarray(table[f"{level}_id"].to_pylist(), dtype=str)
    return np.unique(owners, return_inverse=True)[1].astype(np.int64)


def with_probabilities(table: pa.Table, probabilities: Floats) -> pa.Table:
    """The table with these (n, classes) in its last column, `probabilities`."""
    column = pa.array(probabilities.tolist(), pa.list_(pa.float64()))
    rest = table.drop_columns(["probabilities"]) if "probabilities" in table.column_names else table
    return rest.append_column("probabilities", column)


def without_calibration(table: pa.Table, calibration: Calibration) -> pa.Table:
    """Predictions of patches with the probabilities that they had before calibration."""
    return with_probabilities(table, calibration.undo(labels_and_probabilities(table)[1])) if table.num_rows else table


def labels_and_probabilities(predictions: pa.Table) -> tuple[Ints, Floats]:
    """The true classes (n,) and the probabilities (n, classes) of predictions."""
    labels: Ints = np.asarray(predictions["label"].to_numpy(), dtype=np.int64)
    if predictions.num_rows == 0:
        return labels, np.empty((0, 2))
    flat = predictions["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return labels, np.asarray(flat, dtype=np.float64).reshape(predictions.num_rows, -1)


def check_one_class_each(patients: NDArray[np.str_], labels: Ints) -> None:
    """Raise DataError if a patient has samples of different classes."""
    names, member = np.unique(patients, return_inverse=True)
    lowest, highest = np.full(len(names), labels.max(initial=0)), np.zeros(len(names), np.int64)
    np.minimum.at(lowest, member, labels)
    np.maximum.at(highest, member, labels)
    mixed = names[lowest < highest]
    if len(mixed):
        problem = f"expected patients of one class each, got {len(mixed)} with several, such as '{mixed[0]}'"
        raise DataError("evaluation.level", problem, "Set it to 'patch'")


def check_probabilities(probabilities: Floats, split: str) -> None:
    """Raise WorkError if a probability (n, classes) is not a number."""
    undefined = int(np.sum(~np.isfinite(probabilities).all(axis=1)))
    if undefined:
        problem = f"the network gives no probability (NaN) to {undefined:,} of {len(probabilities):,} patches"
        raise WorkError(f"split '{split}'", problem, "Lower training.learning_rate and train again")


def log_loss(labels: Ints, probabilities: Floats, weights: Floats | None = None) -> float:
    """Mean cross-entropy of probabilities, in nats; NaN without samples that count."""
    if not len(labels) or (weights is not None and not np.any(weights)):
        return float("nan")
    true = probabilities[np.arange(len(labels)), labels]
    return float(np.average(-np.log(np.maximum(true, np.finfo(np.float64).tiny)), weights=weights))
