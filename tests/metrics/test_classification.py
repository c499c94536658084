import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from sklearn import metrics as sk

from voxray.metrics.classification import confusion_counts, predict_labels
from voxray.metrics.compute import compute_metrics, without_nan
from voxray.metrics.curves import (
    Ranking,
    area_under_precision_recall,
    area_under_roc,
    choose_threshold,
    ratio,
    recall_at_precision,
)


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    count = draw(st.integers(2, 60))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=count, max_size=count)))
    # Few distinct values, so that ties are common.
    scores = np.array(draw(st.lists(st.integers(0, 9), min_size=count, max_size=count))) / 10
    weights = np.array(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)), float)
    assume(0 < (labels * weights).sum() < weights.sum())
    return labels, scores, weights


@given(scored())
def test_areas_are_those_of_scikit_learn_with_and_without_weights(data: tuple[np.ndarray, ...]) -> None:
    labels, scores, weights = data
    for amount in (None, weights):
        counts = Ranking(labels, scores).counts(amount)
        assert area_under_roc(*counts) == pytest.approx(sk.roc_auc_score(labels, scores, sample_weight=amount))
        expected = sk.average_precision_score(labels, scores, sample_weight=amount)
        assert area_under_precision_recall(*counts) == pytest.approx(expected)


@given(scored(), st.floats(0.05, 1))
def test_recall_at_a_precision_is_the_highest_on_the_curve_of_scikit_learn(
    data: tuple[np.ndarray, ...], target: float
) -> None:
    labels, scores, _ = data
    precision, recall, _ = sk.precision_recall_curve(labels, scores)
    # Without scikit-learn's last point, which no threshold gives.
    enough = recall[:-1][precision[:-1] >= target - 1e-12]
    assert recall_at_precision(Ranking(labels, scores), target) == pytest.approx(enough.max(initial=0))


def test_recall_at_a_precision_has_no_value_without_positives() -> None:
    assert math.isnan(recall_at_precision(Ranking(np.zeros(3, np.int64), np.array([0.1, 0.2, 0.3])), 0.5))


@given(scored())
def test_curves_are_those_of_scikit_learn(data: tuple[np.ndarray, ...]) -> None:
    labels, scores, _ = data
    ranking = Ranking(labels, scores)
    true, false = ranking.counts()
    false_rate, recall, thresholds = sk.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(ratio(false, false[-1]), false_rate[1:])
    np.testing.assert_allclose(ratio(true, true[-1]), recall[1:])
    np.testing.assert_allclose(ranking.thresholds, thresholds[1:])
    expected_precision, expected_recall, expected_thresholds = sk.precision_recall_curve(labels, scores)
    np.testing.assert_allclose(ratio(true, true + false)[::-1], expected_precision[:-1])
    np.testing.assert_allclose(ratio(true, true[-1])[::-1], expected_recall[:-1])
    np.testing.assert_allclose(ranking.thresholds[::-1], expected_thresholds)


@given(scored(), st.floats(0, 1))
def test_figures_at_a_threshold_are_those_of_scikit_learn(data: tuple[np.ndarray, ...], threshold: float) -> None:
    labels, scores, _ = data
    found = compute_metrics(labels, np.stack([1 - scores, scores], 1), threshold)
    predicted = (scores >= threshold).astype(int)
    assert found["recall"] == pytest.approx(sk.recall_score(labels, predicted))
    if predicted.any():
        assert found["precision"] == pytest.approx(sk.precision_score(labels, predicted))
    else:
        assert math.isnan(found["precision"])
    assert found["f1"] == pytest.approx(sk.f1_score(labels, predicted))
    assert found["accuracy"] == pytest.approx(sk.accuracy_score(labels, predicted))
    assert found["error"] == pytest.approx(1 - found["accuracy"])
    assert found["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
    assert found["confusion_matrix"] == sk.confusion_matrix(labels, predicted, labels=[0, 1]).tolist()


def test_figures_of_several_classes_are_scikit_learns_macro_means() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    probabilities = rng.dirichlet(np.ones(4), 300)
    found = compute_metrics(labels, probabilities, None)
    predicted = probabilities.argmax(1)
    assert found["recall"] == pytest.approx(sk.recall_score(labels, predicted, average="macro"))
    assert found["precision"] == pytest.approx(sk.precision_score(labels, predicted, average="macro"))
    assert found["f1"] == pytest.approx(sk.f1_score(labels, predicted, average="macro"))
    expected = sk.roc_auc_score(labels, probabilities, multi_class="ovr", average="macro")
    assert found["roc_auc"] == pytest.approx(expected)


@given(scored(), st.integers(0, 60))
def test_counts_of_parts_add_up_to_the_counts_of_the_whole(data: tuple[np.ndarray, ...], cut: int) -> None:
    labels, scores, _ = data
    predicted = predict_labels(np.stack([1 - scores, scores], 1), 0.5)
    parts = [confusion_counts(labels[part], predicted[part], 2) for part in (slice(None, cut), slice(cut, None))]
    np.testing.assert_array_equal(sum(parts), confusion_counts(labels, predicted, 2))


@given(scored(), st.floats(0.01, 1))
def test_the_threshold_is_the_highest_that_reaches_the_recall(data: tuple[np.ndarray, ...], target: float) -> None:
    labels, scores, _ = data
    threshold = choose_threshold(Ranking(labels, scores), target)
    positive = scores >= threshold
    assert sk.recall_score(labels, positive) >= target - 1e-9
    lowest = scores[positive].min()
    for higher in np.unique(scores[scores > lowest]):
        assert sk.recall_score(labels, scores >= higher) < target
    assert threshold == (lowest + max(scores[~positive], default=0.0)) / 2


@given(
    st.lists(st.tuples(st.booleans(), st.floats(0, 1, allow_subnormal=False)), min_size=2, max_size=60),
    st.floats(0.01, 1),
)
def test_rounding_changes_no_prediction_at_a_chosen_threshold(data: list[tuple[bool, float]], target: float) -> None:
    labels, scores = np.array([label for label, _ in data], int), np.array([score for _, score in data])
    # Scores of saturated networks, which differ by less than float32 resolves.
    scores = np.concatenate([scores, 1 - 1e-9 * scores, np.nextafter(scores, 1)])
    labels = np.tile(labels, 3)
    assume(labels.any() and scores[labels == 1].min() > 1e-30)  # float32 ends there
    threshold = choose_threshold(Ranking(labels, scores), target)
    positive = scores >= threshold
    assert sk.recall_score(labels, positive) >= target - 1e-9
    for rounded in (scores.astype(np.float32), np.array([float(f"{score:.7g}") for score in scores])):
        np.testing.assert_array_equal(rounded >= threshold, positive)
        np.testing.assert_array_equal(rounded >= np.float32(threshold), positive)
        np.testing.assert_array_equal(rounded >= float(f"{threshold:.7g}"), positive)


def test_without_positives_recall_and_areas_have_no_value_and_json_gets_null() -> None:
    found = compute_metrics(np.zeros(4, np.int64), np.full((4, 2), 0.5), 0.5)
    for name in ("recall", "roc_auc", "average_precision", "balanced_accuracy"):
        assert math.isnan(found[name])
        assert without_nan(found)[name] is None
    assert math.isnan(choose_threshold(Ranking(np.zeros(4, np.int64), np.ones(4)), 0.9))
    assert without_nan({"a": {"b": (1.0, math.nan)}}) == {"a": {"b": [1.0, None]}}
