"""All metrics, one line each. Adding one takes its own module in this folder and a line here.

``metrics.json``, confidence intervals, the history, reports, W&B, the goals of a search, `training.monitor` and the
terminal read this table.
"""

from collections.abc import Iterator, Mapping, Sequence

from voxray.config.tasks import TASKS
from voxray.config.validation import nearest
from voxray.errors import ConfigError
from voxray.metrics import classification, detection_score, lesions, patch_detection, segmentation
from voxray.metrics.calibration_error import ECE
from voxray.metrics.false_positives import FALSE_POSITIVES_PER_SCAN
from voxray.metrics.metric import Metric
from voxray.metrics.specificity import SPECIFICITY

# In the order of reports, whose tasks share some.
METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        segmentation.DICE,
        segmentation.SURFACE_DICE,
        segmentation.HD95_MM,
        segmentation.SENSITIVITY,
        classification.RECALL,
        SPECIFICITY,
        classification.PRECISION,
        classification.NPV,
        FALSE_POSITIVES_PER_SCAN,
        classification.F1,
        classification.ACCURACY,
        classification.ERROR,
        classification.BALANCED_ACCURACY,
        classification.ROC_AUC,
        classification.AVERAGE_PRECISION,
        classification.LOSS,
        ECE,
        classification.PRECISION_AT_TARGET,
        classification.RECALL_AT_PRECISION,
        patch_detection.PATCH_SENSITIVITY,
        patch_detection.PATCH_SPECIFICITY,
        lesions.LESION_RECALL,
        lesions.LESION_PRECISION,
        lesions.LESION_F1,
        lesions.LESIONS,
        lesions.PREDICTED_LESIONS,
        segmentation.VOLUME_ERROR,
        segmentation.MISSED,
        detection_score.PROPOSAL_SENSITIVITY,
        detection_score.PROPOSALS_PER_SCAN,
        detection_score.CPM,
        detection_score.SENSITIVITY_AT,
    )
}
PREFIXES = ("final", "train", "val", "test", "population", "whole_scans")


def find_metric(key: str) -> Metric:
    """The metric of a key as histories, W&B and ``metrics.json`` write it.

    Parameters
    ----------
    key : str
        Such as ``recall``, ``val_recall``, ``val/recall``, ``final/test/recall``, ``dice/liver`` or ``val_dice/liver``.

    Raises
    ------
    ConfigError
        There is no such metric.

    Examples
    --------
    >>> find_metric("val_loss").higher_is_better
    False
    >>> find_metric("hd95_mm/liver").unit
    'mm'
    """
    name = metric_name(key)
    if name not in METRICS or "" in key.split("/"):
        raise ConfigError("metric", f"unknown metric '{key}'; {nearest(name, METRICS)}")
    return METRICS[name]


def metric_name(key: str) -> str:
    """The plain name in a key, without split and class."""
    stem, *rest = key.split("/")
    while stem in PREFIXES and rest:
        stem, *rest = rest
    split, _, name = stem.partition("_")
    return name if split in PREFIXES else stem


def task_metrics(task: str, *, per_epoch: bool = False) -> Iterator[Metric]:
    """The metrics of a task in ``metrics.json``, or those of each epoch."""
    return (
        metric
        for metric in METRICS.values()
        if task in metric.tasks and (metric.per_epoch if per_epoch else metric.final)
    )


def headline_keys(task: str, monitor: str) -> tuple[str, ...]:
    """Metrics that come first wherever results are shown: the monitor of an experiment, then those of the task.

    A loss, and a metric that only epochs have, is no headline.
    """
    metric, own = find_metric(monitor), TASKS[task].headline
    return tuple(dict.fromkeys((monitor, *own))) if metric.final and metric.interval else own


def epoch_metrics(task: str, classes: Sequence[str]) -> tuple[str, ...]:
    """Keys that validation gives after each epoch; ``val_`` and a key is a column of the history.

    Parameters
    ----------
    task : str
        Such as ``classification``.
    classes : sequence of str
        For segmentation, the background first.
    """
    keys = ["loss"]
    for metric in task_metrics(task, per_epoch=True):
        if metric.function is None or (metric.binary_only and len(classes) != 2):
            continue
        if task == "segmentation":
            keys += [metric.name] * metric.class_mean + [f"{metric.name}/{name}" for name in classes[1:]]
        else:
            keys.append(metric.name)
    return tuple(keys)
