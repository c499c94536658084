"""The validation of trained trials again, by patient: so that trials can be compared beyond chance."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.config.tasks import TASKS
from voxray.metrics.aggregate import log_loss
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import weighted_means
from voxray.metrics.curves import Floats
from voxray.metrics.registry import METRICS


@dataclass(frozen=True, eq=False)
class Validated:
    """A trained network on the validation split of one fold.

    Attributes
    ----------
    patients : ndarray, (n,)
        The patient of each patch, or of each scan where scans have masks.
    metric : callable
        The metric for weights of these (n,); NaN where it is undefined.
    """

    patients: NDArray[Any]
    metric: Callable[[Floats], float]


def comparable_metric(name: str, task: str, classes: Sequence[str]) -> str:
    """The metric that trials are compared by: that of a search, where it can be computed for drawn patients.

    Otherwise it is the first one of the task: the loss of a segmentation, and CPM, belong to the whole split.
    """
    if task == "segmentation":
        known = [metric for metric in METRICS.values() if task in metric.tasks and metric.function]
        names = {metric.name for metric in known if metric.class_mean}
        names |= {f"{metric.name}/{label}" for metric in known for label in classes[1:]}
        return name if name in names else TASKS[task].headline[0]
    metric = METRICS[name]
    return name if name == "loss" or metric.function else TASKS[task].headline[0]


def validated_patches(
    name: str, labels: Any, probabilities: Floats, patients: NDArray[Any], targets: tuple[float, float]
) -> Validated:
    """The patches of a classifier, with probabilities as training validates them: before calibration.

    Parameters
    ----------
    name : str
        From `comparable_metric`.
    labels : ndarray of int, (n,)
    probabilities : ndarray, (n, classes)
    patients : ndarray, (n,)
    targets : tuple of float
        ``evaluation.target_recall`` and ``target_precision``.
    """
    samples = Samples(labels, probabilities, predict_labels(probabilities), None, *targets)
    function = METRICS[name].function

    def metric(weights: Floats) -> float:
        if function is None:
            return log_loss(labels, probabilities, weights)
        return function(Samples(labels, probabilities, samples.predicted, weights, *targets, samples.rankings))

    return Validated(patients, metric)


def validated_scans(name: str, cases: Sequence[Mapping[str, Any]]) -> Validated:
    """Whole scans with their metrics, from `voxray.evaluation.scans.evaluate_scan`."""
    ordered = sorted(cases, key=lambda case: str(case["scan_id"]))
    metrics = [{key: value for key, value in case.items() if isinstance(value, float)} for case in ordered]

    def metric(weights: Floats) -> float:
        keys, means = weighted_means(metrics, weights[np.newaxis])
        return float(means[0, keys.index(name)]) if name in keys else math.nan

    return Validated(np.array([str(case["patient_id"]) for case in ordered]), metric)
