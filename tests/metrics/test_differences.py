"""Differences of two networks on the same samples, against scikit-learn, SciPy and simulated chance."""

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats
from sklearn.metrics import roc_auc_score

from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.curves import Floats, Ints
from voxray.metrics.differences import Paired, paired_difference
from voxray.metrics.registry import METRICS


def auc_of(labels: Ints, scores: Floats) -> Callable[[Floats], float]:
    probabilities = np.column_stack([1 - scores, scores])
    samples = Samples(labels, probabilities, predict_labels(probabilities))

    def value(weights: Floats) -> float:
        weighted = Samples(labels, probabilities, samples.predicted, weights, rankings=samples.rankings)
        return METRICS["roc_auc"].function(weighted)

    return value


def test_the_difference_is_that_of_the_metrics_and_identical_networks_do_not_differ() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 40)
    one, other = (np.clip(0.3 * labels + rng.random(40) / 2, 0, 1) for _ in range(2))
    part = Paired(np.arange(40), auc_of(labels, one), auc_of(labels, other))
    difference = paired_difference([part])
    assert difference.value == pytest.approx(roc_auc_score(labels, one) - roc_auc_score(labels, other))
    assert difference.patients == 40
    same = paired_difference([Paired(np.arange(40), part.one, part.one)])
    assert same.interval == (0, 0)


def test_the_interval_of_a_mean_is_that_of_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.random((2, 40)) + np.array([[0.1], [0.0]])
    part = Paired(
        np.arange(40),
        lambda weights: np.average(one, weights=weights),
        lambda weights: np.average(other, weights=weights),
    )
    for comparisons in (1, 20):
        found = paired_difference([part], comparisons).interval
        expected = stats.ttest_rel(one, other).confidence_interval(1 - 0.05 / comparisons)
        assert found == pytest.approx((expected.low, expected.high), rel=0.15)


def test_patients_and_not_samples_are_drawn_within_their_fold() -> None:
    rng = np.random.default_rng(2)
    values = rng.random(12)

    def part(repeats: int) -> Paired:
        repeated = np.repeat(values, repeats)
        return Paired(
            np.repeat(np.arange(12), repeats),
            lambda weights: np.average(repeated, weights=weights),
            lambda weights: 0.0,
        )

    once, often = paired_difference([part(1)]).interval, paired_difference([part(50)]).interval
    assert once == pytest.approx(often)
    folds = paired_difference([part(1), part(1)])
    assert folds.value == pytest.approx(values.mean())
    assert folds.patients == 24
    assert folds.interval[1] - folds.interval[0] < once[1] - once[0]


def test_few_patients_have_no_interval() -> None:
    part = Paired(np.arange(4), lambda weights: float(weights[0]), lambda weights: 0.0)
    assert paired_difference([part]).interval is None


def test_the_luckiest_of_ten_equal_networks_is_seldom_beyond_chance() -> None:
    rng, beyond, runs = np.random.default_rng(3), {1: 0, 10: 0}, 40
    for _ in range(runs):
        scans = rng.normal(0.8, 0.1, 30) + rng.normal(0, 0.05, (11, 30))
        best = scans[1:][scans[1:].mean(axis=1).argmax()]
        part = Paired(
            np.arange(30),
            lambda weights, best=best: float(weights @ best) / 30,
            lambda weights, start=scans[0]: float(weights @ start) / 30,
        )
        for comparisons in beyond:
            beyond[comparisons] += paired_difference([part], comparisons).interval[0] > 0
    assert beyond[1] > beyond[10]
    assert beyond[10] <= 0.05 * runs
