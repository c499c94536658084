import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from voxray.metrics.class_table import class_table
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import compute_metrics
from voxray.metrics.intervals import sample_intervals

NAMES = ("a", "b", "c", "d")
ONE = np.zeros(100, np.int64)  # patient


@st.composite
def predicted(draw: st.DrawFn) -> tuple[Samples, np.ndarray | None]:
    """Samples of two to four classes, of which some may be absent or never predicted, weighted or not."""
    classes, count = draw(st.integers(2, 4)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    present, possible = (draw(st.integers(1, classes)) for _ in range(2))
    labels = rng.integers(0, present, count)
    # Few distinct values, so that ties are common.
    probabilities = rng.integers(0, 5, (count, classes)) / 10
    probabilities[:, possible:] = -1
    weights = rng.random(count) * 3 if draw(st.booleans()) else None
    return Samples(labels, probabilities, predict_labels(probabilities), weights), weights


@given(predicted())
def test_it_is_the_classification_report_of_scikit_learn(data: tuple[Samples, np.ndarray | None]) -> None:
    samples, weights = data
    names = NAMES[: samples.classes]
    table = class_table(samples, names, ONE[: len(samples.labels)])
    report = sk.classification_report(
        samples.labels,
        samples.predicted,
        labels=range(samples.classes),
        target_names=names,
        sample_weight=weights,
        output_dict=True,
        zero_division=np.nan,
    )
    for column, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
        assert table["macro"][column] == pytest.approx(report["macro avg"][key], nan_ok=True)
        weight = sum(row["support"] for row in table["classes"].values() if not math.isnan(row[column]))
        # Without any weight scikit-learn gives the plain mean.
        expected = report["weighted avg"][key] if weight else math.nan
        assert table["weighted"][column] == pytest.approx(expected, nan_ok=True)
    for name in names:
        row, expected = table["classes"][name], report[name]
        assert row["support"] == pytest.approx(expected["support"])
        for column, key in (("precision", "precision"), ("recall", "recall"), ("f1", "f1-score")):
            assert row[column] == pytest.approx(expected[key], nan_ok=True)


@given(predicted())
def test_specificity_is_the_recall_of_the_rest_and_areas_are_of_one_class_against_the_rest(
    data: tuple[Samples, np.ndarray | None],
) -> None:
    samples, weights = data
    names = NAMES[: samples.classes]
    table = class_table(samples, names, ONE[: len(samples.labels)])
    areas = []
    for label, name in enumerate(names):
        truth = samples.labels == label
        rest = {"sample_weight": weights, "pos_label": False, "zero_division": np.nan}
        row = table["classes"][name]
        found = sk.recall_score(truth, samples.predicted == label, **rest)
        assert row["specificity"] == pytest.approx(found, nan_ok=True)
        found = sk.precision_score(truth, samples.predicted == label, **rest)
        assert samples.by_class["npv"][label] == pytest.approx(found, nan_ok=True)
        if samples.classes == 2:
            assert "roc_auc" not in row
            continue
        one = samples.probabilities[:, label]
        areas.append(sk.roc_auc_score(truth, one, sample_weight=weights) if 0 < truth.sum() < len(truth) else math.nan)
        assert row["roc_auc"] == pytest.approx(areas[-1], nan_ok=True)
    if np.isfinite(areas).any():
        assert table["macro"]["roc_auc"] == pytest.approx(np.nanmean(areas))


def test_a_class_that_is_absent_or_never_predicted_makes_its_own_metrics_undefined_only() -> None:
    # Nothing is of class c, and class b is never predicted.
    labels = np.array([0, 0, 1, 1, 3])
    probabilities = np.array([[9, 1, 0, 0], [9, 1, 0, 0], [6, 3, 0, 1], [0, 3, 6, 1], [0, 0, 1, 9]]) / 10
    samples = Samples(labels, probabilities, predict_labels(probabilities))
    table = class_table(samples, NAMES, ONE[:5])
    undefined = {
        (name, key)
        for name, row in table["classes"].items()
        for key, value in row.items()
        if key != "intervals" and math.isnan(value)
    }
    assert undefined == {("b", "precision"), ("c", "recall"), ("c", "roc_auc")}
    metrics = compute_metrics(labels, probabilities, None)
    numbers = [value for value in metrics.values() if isinstance(value, float)]
    assert all(map(math.isfinite, numbers))
    assert metrics["recall"] == metrics["balanced_accuracy"] == pytest.approx((1 + 0 + 1) / 3)
    assert metrics["precision"] == pytest.approx((2 / 3 + 0 + 1) / 3)


def test_of_a_single_class_balanced_accuracy_and_areas_have_no_value() -> None:
    metrics = compute_metrics(np.zeros(3, np.int64), np.eye(3), None)
    assert metrics["recall"] == pytest.approx(1 / 3)
    assert math.isnan(metrics["balanced_accuracy"])
    assert math.isnan(metrics["roc_auc"])


def test_weights_need_not_be_whole_numbers() -> None:
    labels, probabilities = np.array([0, 1, 1]), np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    samples = Samples(labels, probabilities, predict_labels(probabilities), np.array([0.25, 0.5, 0.75]))
    table = class_table(samples, ("a", "b"), ONE[:3])
    assert table["classes"]["b"]["recall"] == pytest.approx(0.5 / 1.25)
    assert table["classes"]["a"]["precision"] == pytest.approx(0.25)
    assert table["classes"]["b"]["support"] == pytest.approx(1.25)


@settings(max_examples=40)
@given(predicted(), st.integers(1, 12))
def test_a_class_has_the_intervals_of_two_classes_and_the_macro_mean_those_of_the_metrics(
    data: tuple[Samples, np.ndarray | None], patients: int
) -> None:
    samples, weights = data
    owners = np.arange(len(samples.labels)) % patients
    table = class_table(samples, NAMES[: samples.classes], owners)
    for label, name in enumerate(NAMES[: samples.classes]):
        scores = samples.probabilities[:, label]
        one = Samples(
            (samples.labels == label).astype(np.int64),
            np.stack([1 - scores, scores], 1),
            (samples.predicted == label).astype(np.int64),
            weights,
        )
        expected = sample_intervals(one, owners)
        row = table["classes"][name]
        assert row["intervals"].keys() == row.keys() - {"support", "intervals"}
        for column, interval in row["intervals"].items():
            assert interval == pytest.approx(expected[column]), column
            assert interval is None or 0 <= interval[0] <= row[column] <= interval[1] <= 1
    if samples.classes > 2:
        expected = sample_intervals(samples, owners)
        for column, interval in table["macro"]["intervals"].items():
            assert interval == pytest.approx(expected[column]), column
