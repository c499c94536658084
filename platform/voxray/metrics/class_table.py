"""Metrics of each class of a classifier against the rest, and their means, as a classification report has them."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.metrics.classification import Samples, defined_mean
from voxray.metrics.curves import Floats, area_under_roc
from voxray.metrics.intervals import left_out_intervals
from voxray.metrics.proportions import Interval
from voxray.metrics.support import Bools, class_samples

COLUMNS = ("precision", "recall", "f1", "specificity", "roc_auc")
MACRO, WEIGHTED = "macro", "weighted"

Cell = tuple[int | str, str]  # a label or MACRO or WEIGHTED, and a column


def class_table(samples: Samples, names: Sequence[str], patients: NDArray[Any]) -> dict[str, Any]:
    """The metrics of each class, and the means over the classes, with confidence intervals.

    Parameters
    ----------
    samples : Samples
    names : sequence of str
        Of the labels 0, 1, …
    patients : ndarray, (n,)
        The patient of each sample.

    Returns
    -------
    dict
        ``classes``: name → precision, recall, f1, specificity and support (samples, or the sum of their weights), and
        with more than two classes roc_auc. ``macro``, ``weighted``: the means of these, plain and weighted by support.
        NaN where a class is absent or never predicted; means leave it out. Each has ``intervals`` as
        `voxray.metrics.intervals` gives them.
    """
    cells = _cells(samples)
    intervals = left_out_intervals(samples, patients, _cells, _rests_on)
    support = samples.confusion.sum(axis=1)
    return {
        "classes": {
            name: {**_row(cells, intervals, label), "support": _without_rest(support[label].item())}
            for label, name in enumerate(names)
        },
        **{row: _row(cells, intervals, row) for row in (MACRO, WEIGHTED)},
    }


def _without_rest(count: float) -> float:
    """A count, as a whole number where only the rounding of weights keeps it from being one."""
    return round(count) if math.isclose(count, round(count), rel_tol=1e-9) else count


def _cells(samples: Samples) -> dict[Cell, float]:
    columns = {name: samples.by_class[name] for name in COLUMNS if name in samples.by_class}
    if samples.classes > 2:
        columns["roc_auc"] = _areas(samples)
    support = samples.confusion.sum(axis=1)
    cells: dict[Cell, float] = {}
    for column, values in columns.items():
        cells |= {(label, column): float(value) for label, value in enumerate(values)}
        cells |= {(MACRO, column): defined_mean(values), (WEIGHTED, column): defined_mean(values, support)}
    return cells


def _rests_on(samples: Samples, cell: Cell) -> list[Bools]:
    row, column = cell
    labels = range(samples.classes) if isinstance(row, str) else (row,)
    return [chosen for label in labels for chosen in class_samples(samples, column, label)]


def _row(cells: Mapping[Cell, float], intervals: Mapping[Cell, Interval | None], row: int | str) -> dict[str, Any]:
    return {
        **{column: value for (owner, column), value in cells.items() if owner == row},
        "intervals": {column: ends for (owner, column), ends in intervals.items() if owner == row},
    }


def _areas(samples: Samples) -> Floats:
    return np.array([area_under_roc(*counts) for counts in samples.positives])
