"""How many samples of each class a split has in the data set's list, and how many of them are planned.

Where negatives are dropped, the two differ. Their ratio re-weights metrics to the list's own mix of classes.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from voxray.patches.balance import SPLITS

# By split: ``listed`` and ``planned``, each with ``scans`` and, for each level, the number of units of each class.
Population = dict[str, dict[str, dict[str, Any]]]
LEVELS = ("patch", "scan", "patient")


def count_population(
    samples: pa.Table,
    splits: NDArray[np.str_],
    patches: NDArray[np.int64],
    kept: NDArray[np.bool_],
    classes: int,
) -> Population:
    """Count the units of each class, before and after negatives are dropped.

    Parameters
    ----------
    samples : pyarrow.Table
        Of n samples `scan_id`, `patient_id` and `label`.
    splits : ndarray of str, (n,)
    patches : ndarray of int, (n,)
        Patches of each sample.
    kept : ndarray of bool, (n,)
    """
    population: Population = {}
    for split in SPLITS:
        members = splits == split
        if (members & kept).any():
            chosen = {"listed": members, "planned": members & kept}
            population[split] = {
                name: _count(samples.filter(pa.array(rows)), patches[rows], classes) for name, rows in chosen.items()
            }
    return population


def class_weights(counts: Mapping[str, Mapping[str, Any]], level: str) -> NDArray[np.float64]:
    """How many listed units each planned one stands for, (classes,); 1 where none of a class were dropped.

    Parameters
    ----------
    counts : mapping
        Those of one split.
    level : str
        One of LEVELS.
    """
    listed, planned = (np.array(counts[name][level], np.float64) for name in ("listed", "planned"))
    return np.divide(listed, planned, out=np.ones_like(listed), where=planned > 0)


def dropped_notes(population: Mapping[str, Any], classes: Sequence[str]) -> Iterator[str]:
    """A line for each split that loses negatives, such as ``train: 680 of 1,410 'other' samples are used``."""
    for split, counts in population.items():
        (listed, *others), (planned, *_) = counts["listed"]["patch"], counts["planned"]["patch"]
        if planned < listed:
            per_positive = f"{planned / sum(others):.1f} per positive instead of {listed / sum(others):.1f}"
            yield f"{split}: {planned:,} of {listed:,} '{classes[0]}' patches are used, {per_positive}"


def _count(samples: pa.Table, patches: NDArray[np.int64], classes: int) -> dict[str, Any]:
    counts: dict[str, Any] = {"patch": _by_class(samples["label"], classes, patches)}
    for level in LEVELS[1:]:
        units = samples.group_by([f"{level}_id", "label"]).aggregate([])
        counts[level] = _by_class(units["label"], classes)
    return {**counts, "scans": len(pc.unique(samples["scan_id"]))}


def _by_class(labels: pa.ChunkedArray, classes: int, times: NDArray[np.int64] | None = None) -> list[int]:
    counts: list[int] = np.bincount(labels.to_numpy(), times, minlength=classes).astype(np.int64).tolist()
    return counts
