"""Metrics of the data set's own mix of classes, which an evaluated split lacks where negatives of it were dropped."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.metrics.aggregate import log_loss
from voxray.metrics.class_table import class_table
from voxray.metrics.classification import Samples
from voxray.metrics.compute import sample_metrics
from voxray.metrics.curves import Floats
from voxray.metrics.false_positives import FALSE_POSITIVES_PER_SCAN, false_positives_by_scan
from voxray.metrics.intervals import sample_intervals, scan_intervals
from voxray.patches.population import class_weights

PER_SCAN = FALSE_POSITIVES_PER_SCAN.name


@dataclass(frozen=True, eq=False)
class Mix:
    """What the evaluated units of a split stand for.

    Attributes
    ----------
    weights : ndarray, (n,), optional
        How many units of the list each one stands for; None where none were dropped.
    class_counts : tuple of int, (classes,)
        Units of each class in the list.
    scans_without : int
        Scans of the list that have lost all their samples.
    """

    weights: Floats | None = None
    class_counts: tuple[int, ...] = ()
    scans_without: int = 0


def read_mix(populations: Sequence[Mapping[str, Any] | None], units: pa.Table, level: str) -> Mix:
    """The mix of a split, or of the same split of several folds.

    Parameters
    ----------
    populations : sequence of mapping or None
        Of the split in the store of each fold, see `voxray.patches.population`; None where a store does not say.
    units : pyarrow.Table
        With `label` and, of several folds, `fold`.
    level : str
        Of the units: patch, scan or patient.
    """
    known = [population for population in populations if population is not None]
    if len(known) < len(populations) or all(population["listed"] == population["planned"] for population in known):
        return Mix()
    weights = np.stack([class_weights(population, level) for population in known])
    folds = units["fold"].to_numpy() if len(known) > 1 else 0
    counts = np.sum([population["listed"][level] for population in known], axis=0)
    lost = sum(population["listed"]["scans"] - population["planned"]["scans"] for population in known)
    return Mix(weights[folds, units["label"].to_numpy()], tuple(counts.tolist()), lost)


def with_population(
    metrics: Mapping[str, Any], samples: Samples, units: pa.Table, mix: Mix, classes: Sequence[str]
) -> dict[str, Any]:
    """The metrics of a split and, where negatives of it were dropped, ``population``: the same of the list's own mix.

    ``population`` also has ``class_counts``, the units of each class in the list.
    """
    if mix.weights is None:
        return dict(metrics)
    weighted = replace(samples, weights=mix.weights)
    patients = np.asarray(units["patient_id"].to_pylist(), dtype=str)
    population = {
        "class_counts": list(mix.class_counts),
        **sample_metrics(weighted),
        **class_table(weighted, classes, patients),
        "loss": log_loss(samples.labels, samples.probabilities, mix.weights),
        "intervals": sample_intervals(weighted, patients),
    }
    return {**metrics, "population": population}


def with_false_positives(metrics: Mapping[str, Any], samples: Samples, units: pa.Table, mix: Mix) -> dict[str, Any]:
    """The metrics of a split of candidates, from `with_population`, and the false positives per scan.

    They count all candidates of the list: where negatives were dropped, they are in ``population`` alone.
    """
    scans, patients = (np.asarray(units[name].to_pylist(), dtype=str) for name in ("scan_id", "patient_id"))
    counts, first = false_positives_by_scan(replace(samples, weights=mix.weights), scans)
    values = [*counts.tolist(), *[0.0] * mix.scans_without]
    # A scan without a patch is that of a patient of its own.
    owners = [*patients[first].tolist(), *(f"\0{number}" for number in range(mix.scans_without))]
    found = {PER_SCAN: float(np.mean(values)) if values else math.nan}
    intervals = scan_intervals([{PER_SCAN: value} for value in values], owners)
    if mix.weights is None:
        return {**metrics, **found, "intervals": {**metrics["intervals"], **intervals}}
    population = metrics["population"]
    joined = {**population, **found, "intervals": {**population["intervals"], **intervals}}
    return {**metrics, PER_SCAN: math.nan, "population": joined}
