import math
import subprocess
import sys

import numpy as np
import pytest

from voxray.config.tasks import TASKS
from voxray.errors import ConfigError
from voxray.metrics.classification import Samples
from voxray.metrics.compute import compute_metrics, mean_metrics, sample_metrics, scan_metrics
from voxray.metrics.intervals import sample_intervals, scan_intervals
from voxray.metrics.metric import Metric
from voxray.metrics.registry import METRICS, epoch_metrics, find_metric, headline_keys


@pytest.mark.parametrize(
    ("key", "name"),
    [
        ("recall", "recall"),
        ("val_recall", "recall"),
        ("val/recall", "recall"),
        ("final/test/recall", "recall"),
        ("train_loss", "loss"),
        ("val_recall_at_precision", "recall_at_precision"),
        ("dice/liver", "dice"),
        ("val_dice/liver", "dice"),
        ("hd95_mm/left/lobe", "hd95_mm"),
    ],
)
def test_a_metric_is_found_by_every_key_that_files_use(key: str, name: str) -> None:
    assert find_metric(key) is METRICS[name]


def test_an_unknown_metric_is_an_error_that_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"unknown metric 'val/rcall'; did you mean 'recall'\?"):
        find_metric("val/rcall")


@pytest.mark.parametrize("key", ["dice/", "/dice", "val//dice", "", "/", "val/", "dice//liver"])
def test_a_key_with_an_empty_part_is_no_metric(key: str) -> None:
    with pytest.raises(ConfigError, match="unknown metric"):
        find_metric(key)


def test_lower_is_better_for_errors_losses_and_distances_only() -> None:
    lower = {name for name, metric in METRICS.items() if not metric.higher_is_better}
    counts = {"false_positives_per_scan", "proposals_per_scan"}
    assert lower == counts | {"loss", "ece", "error", "hd95_mm", "volume_error", "missed"}


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("classes", [("other", "nodule"), ("a", "b", "c")])
def test_every_metric_is_described_for_its_classes(name: str, classes: tuple[str, ...]) -> None:
    metric = METRICS[name]
    texts = metric.describe(classes, "patient", 2.0), metric.explain_undefined(classes, "patient")
    assert texts[0]
    assert not any("{" in text for text in texts)


def test_a_registered_metric_is_computed_wherever_its_task_is_evaluated(monkeypatch: pytest.MonkeyPatch) -> None:
    brier = Metric("brier", "Brier score", _brier, "mean squared error of probabilities", higher_is_better=False)
    volume = Metric(
        "volume",
        "Volume",
        lambda voxels: float(voxels.true_size),
        "true voxels",
        ("segmentation",),
        bounds=(0, math.inf),
    )
    for metric in (brier, volume):
        monkeypatch.setitem(METRICS, metric.name, metric)  # type: ignore[arg-type]
    labels, probabilities = np.array([0, 1, 1] * 2), np.array([[0.5, 0.5], [0.5, 0.5], [0, 1]] * 2)
    samples = Samples(labels, probabilities, labels)
    assert compute_metrics(labels, probabilities, None)["brier"] == pytest.approx(0.5 / 3)
    assert sample_metrics(samples, per_epoch=True)["brier"] == pytest.approx(0.5 / 3)
    low, high = sample_intervals(samples, np.arange(6))["brier"] or (0, 0)
    assert 0 <= low < 0.5 / 3 < high <= 1
    assert "brier" in epoch_metrics("classification", ("a", "b"))
    scan = scan_metrics(np.ones((2, 2, 2), int), np.ones((2, 2, 2), int), (1, 1, 1), ("background", "a"))
    assert mean_metrics([scan])["volume/a"] == 8
    low, high = scan_intervals([scan] * 4 + [{**scan, "volume/a": 10}], list("pqrst"))["volume/a"] or (0, 0)
    assert 0 < low < 8.4 < high
    assert epoch_metrics("segmentation", ("background", "a")) == ("loss", "dice", "dice/a", "volume/a")


def test_metrics_of_an_epoch_depend_on_the_task_and_the_classes() -> None:
    two, three = (epoch_metrics("classification", tuple("abc"[:count])) for count in (2, 3))
    assert set(two) - set(three) == {"precision_at_target", "recall_at_precision"}
    assert epoch_metrics("segmentation", ("background", "a", "b")) == ("loss", "dice", "dice/a", "dice/b")


def test_the_monitor_is_the_first_headline_unless_it_is_a_loss_or_of_epochs_only() -> None:
    own = headline_keys("classification", "loss")
    assert own == headline_keys("classification", "precision_at_target") == TASKS["classification"].headline
    assert headline_keys("classification", "balanced_accuracy") == ("balanced_accuracy", *own)
    assert headline_keys("classification", own[1]) == (own[1], own[0], *own[2:])
    assert headline_keys("segmentation", "dice/edema")[:2] == ("dice/edema", "dice")


def test_the_registry_loads_neither_torch_nor_scikit_learn_nor_scipy() -> None:
    code = "import sys, voxray.metrics.registry; assert not {'torch', 'sklearn', 'scipy'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def _brier(samples: Samples) -> float:
    errors = (samples.probabilities[:, 1] - samples.labels) ** 2
    return float(np.average(errors, weights=samples.weights))
