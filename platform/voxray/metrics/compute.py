"""All metrics of the registry for a split of samples, or for a scan and its mask."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.curves import Floats, Ints, ratio
from voxray.metrics.lesions import harmonic_mean
from voxray.metrics.metric import Metric
from voxray.metrics.registry import METRICS, metric_name, task_metrics
from voxray.metrics.segmentation import TOLERANCE_MM, Bools, ClassVoxels, Labels, Regions, class_voxels


def compute_metrics(labels: Ints, probabilities: Floats, threshold: float | Floats | None) -> dict[str, Any]:
    """The metrics of a classifier on one split, with ``confusion_matrix`` and ``samples``.

    Parameters
    ----------
    labels : ndarray of int, (n,)
    probabilities : ndarray, (n, classes)
    threshold : float or ndarray, (n,), optional
        Operating point, for two classes.
    """
    samples = Samples(labels, probabilities, predict_labels(probabilities, threshold))
    return {
        **sample_metrics(samples),
        "confusion_matrix": samples.confusion.tolist(),
        "samples": len(labels),
    }


def sample_metrics(samples: Samples, *, per_epoch: bool = False) -> dict[str, float]:
    """The classification metrics of ``metrics.json``, or those of each epoch; all NaN if a probability is NaN."""
    is_defined = bool(np.isfinite(samples.probabilities).all())
    return {
        metric.name: metric.function(samples) if is_defined else math.nan
        for metric in task_metrics("classification", per_epoch=per_epoch)
        if metric.function and not (metric.binary_only and samples.classes != 2)
    }


def scan_metrics(
    truth: Labels,
    prediction: Labels,
    spacing_mm: Sequence[float],
    classes: Sequence[str],
    tolerance_mm: float = TOLERANCE_MM,
    *,
    regions: Regions = (),
    ignored: Bools | None = None,
) -> dict[str, float]:
    """The segmentation metrics of one scan as ``<metric>/<class>``; NaN as `voxray.metrics.segmentation` says.

    Parameters and errors are those of `class_voxels`; `classes` are the names of the labels 0, 1, …, or of the
    background and the regions.
    """
    found = class_voxels(truth, prediction, spacing_mm, len(classes), tolerance_mm, regions=regions, ignored=ignored)
    return voxel_metrics(found, classes)


def voxel_metrics(
    regions: Sequence[ClassVoxels], classes: Sequence[str], *, per_epoch: bool = False
) -> dict[str, float]:
    """The segmentation metrics of ``metrics.json``, or those of each epoch, as ``<metric>/<class>``."""
    return {
        f"{metric.name}/{name}": metric.function(region)
        for metric in task_metrics("segmentation", per_epoch=per_epoch)
        if metric.function
        for name, region in zip(classes[1:], regions, strict=True)
    }


def mean_metrics(scans: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over scans without NaN, before them the means over the classes; counts such as ``missed`` are sums.

    Parameters
    ----------
    scans : sequence of dict
        From `scan_metrics`, all with the same classes.
    """
    if not scans:
        return {}
    names, means = weighted_means(scans, np.ones((1, len(scans))))
    return {name: float(value) for name, value in zip(names, means[0], strict=True)}


def weighted_means(scans: Sequence[Mapping[str, float]], weights: Floats) -> tuple[list[str], Floats]:
    """Keys, and means (sums of metrics that are summed) for each row of weights.

    Parameters
    ----------
    scans : sequence of dict
    weights : ndarray, (rows, scans)

    Returns
    -------
    keys : list of str
        Those of the scans, after the names of the metrics with a mean over the classes.
    means : ndarray, (rows, keys)
    """
    keys = list(scans[0])
    table = np.array([[scan[key] for key in keys] for scan in scans], float)
    defined = np.isfinite(table)
    metrics = [METRICS[metric_name(key)] for key in keys]
    shares = defined * _scan_weights(keys, metrics, table)
    sums, amounts = weights @ (np.where(defined, table, 0.0) * shares), weights @ shares
    means = np.where([metric.summed for metric in metrics], sums, ratio(sums, amounts))
    for column, (key, metric) in enumerate(zip(keys, metrics, strict=True)):
        if metric.f1_of:
            recall, precision = (means[:, keys.index(key.replace(metric.name, name, 1))] for name in metric.f1_of)
            means[:, column] = harmonic_mean(recall, precision)
    averaged = list(dict.fromkeys(metric.name for metric in metrics if metric.class_mean))
    columns = [_defined_mean(means[:, [metric.name == name for metric in metrics]]) for name in averaged]
    return [*averaged, *keys], np.column_stack([*columns, means])


def _scan_weights(keys: Sequence[str], metrics: Sequence[Metric], table: Floats) -> Floats:
    """The weight of each scan in the mean of each key, (scans, keys)."""
    weights = np.ones_like(table)
    for column, (key, metric) in enumerate(zip(keys, metrics, strict=True)):
        if metric.weighted_by:
            weights[:, column] = table[:, keys.index(key.replace(metric.name, metric.weighted_by, 1))]
    return weights


def case_dice(scan: Mapping[str, float]) -> float:
    """Mean Dice over the classes of a scan; NaN if it and its prediction have none."""
    return mean_metrics([scan])["dice"]


def without_nan(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same values with null for undefined metrics, as JSON needs them."""

    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return without_nan(value)
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return {key: plain(value) for key, value in values.items()}


def _defined_mean(values: Floats) -> Floats:
    defined = np.isfinite(values)
    mean: Floats = ratio(np.where(defined, values, 0.0).sum(axis=1), defined.sum(axis=1))
    return mean
