"""What is judged: each patch for itself, or each patient by all of its patches."""

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.errors import DataError
from voxray.metrics.curves import Floats, Ints

PATIENT = "patient"


def aggregate_predictions(table: pa.Table, unit: str) -> pa.Table:
    """Predictions of patches as predictions of what is judged.

    Parameters
    ----------
    table : pyarrow.Table
        A row for each patch, with `patient_id`, `label` and `probabilities`.
    unit : str
        ``patch``, or ``patient``: the probabilities of a patient are the means over its patches.

    Returns
    -------
    pyarrow.Table
        A row for each unit; a patient's is that of the middle one of its patches.

    Raises
    ------
    DataError
        A patient has patches of different classes.
    """
    if unit != PATIENT or table.num_rows == 0:
        return table
    patients = np.asarray(table["patient_id"].to_pylist(), dtype=str)
    check_one_class_each(patients, table["label"].to_numpy())
    names, member, counts = np.unique(patients, return_inverse=True, return_counts=True)
    _, patches = labels_and_probabilities(table)
    means = np.zeros((len(names), patches.shape[1]))
    np.add.at(means, member, patches)
    means /= counts[:, np.newaxis]
    together = np.argsort(member, kind="stable")
    middle = together[np.cumsum(counts) - counts + counts // 2]
    place = table.column_names.index("probabilities")
    return table.take(pa.array(middle)).set_column(
        place, "probabilities", pa.array(means.tolist(), pa.list_(pa.float64()))
    )


def labels_and_probabilities(units: pa.Table) -> tuple[Ints, Floats]:
    """The true classes (n,) and the probabilities (n, classes) of predictions."""
    labels: Ints = np.asarray(units["label"].to_numpy(), dtype=np.int64)
    if units.num_rows == 0:
        return labels, np.empty((0, 2))
    flat = units["probabilities"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return labels, np.asarray(flat, dtype=np.float64).reshape(units.num_rows, -1)


def check_one_class_each(patients: NDArray[np.str_], labels: Ints) -> None:
    """Raise DataError where a patient has samples of different classes, of which there is no mean."""
    names, member = np.unique(patients, return_inverse=True)
    lowest, highest = np.full(len(names), labels.max(initial=0)), np.zeros(len(names), np.int64)
    np.minimum.at(lowest, member, labels)
    np.maximum.at(highest, member, labels)
    mixed = names[lowest < highest]
    if len(mixed):
        problem = f"'{PATIENT}' wants patients of one class each, got {len(mixed)} of several, such as '{mixed[0]}'"
        raise DataError("evaluation.level", problem, "Set it to 'patch'")


def log_loss(labels: Ints, probabilities: Floats) -> float:
    """Mean cross-entropy of probabilities, in nats."""
    given = probabilities[np.arange(len(labels)), labels]
    return float(-np.log(np.maximum(given, np.finfo(np.float64).tiny)).mean()) if len(labels) else float("nan")
