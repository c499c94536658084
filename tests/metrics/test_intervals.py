import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics as sk

from voxray.errors import WorkError
from voxray.metrics.aggregate import check_probabilities
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import mean_metrics, sample_metrics, without_nan
from voxray.metrics.intervals import MOST_GROUPS, sample_intervals, scan_intervals
from voxray.metrics.proportions import Interval
from voxray.metrics.registry import METRICS
from voxray.metrics.support import MIN_PATIENTS

HARMLESS = pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")


def samples_of(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray | None = None) -> Samples:
    probabilities = np.stack([1 - scores, scores], 1)
    return Samples(labels, probabilities, predict_labels(probabilities, 0.5), weights)


def width(interval: Interval | None) -> float:
    assert interval is not None
    return interval[1] - interval[0]


@st.composite
def clustered(draw: st.DrawFn) -> tuple[Samples, np.ndarray]:
    """Two or three classes, few patients, common ties, classes that may be missing, weights of zero."""
    count, classes = draw(st.integers(1, 40)), draw(st.integers(2, 3))
    rng = np.random.default_rng(draw(st.integers(0, 999)))
    labels = np.array(draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    probabilities = rng.dirichlet(np.full(classes, 0.5), count).round(1)
    weights = np.array(draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)), float)
    patients = rng.integers(0, draw(st.integers(1, 12)), count)
    return Samples(
        labels, probabilities, predict_labels(probabilities), draw(st.sampled_from([None, weights]))
    ), patients


@settings(max_examples=200)
@given(clustered())
def test_an_interval_has_a_width_holds_the_value_and_keeps_the_bounds(data: tuple[Samples, np.ndarray]) -> None:
    samples, patients = data
    values, intervals = sample_metrics(samples), sample_intervals(samples, patients)
    assert intervals.keys() == {name for name in values if METRICS[name].interval}
    for name, interval in intervals.items():
        if interval is not None:
            assert 0 <= interval[0] < interval[1] <= 1
            assert interval[0] <= values[name] <= interval[1]
            assert len(np.unique(patients)) >= MIN_PATIENTS


@given(clustered())
def test_weights_of_zero_are_absent_samples_and_weights_of_two_are_samples_twice(
    data: tuple[Samples, np.ndarray],
) -> None:
    samples, patients = data
    weights = np.ones(len(patients)) if samples.weights is None else samples.weights
    weighted = Samples(samples.labels, samples.probabilities, samples.predicted, weights)
    times = np.repeat(np.arange(len(patients)), weights.astype(int))
    repeated = Samples(samples.labels[times], samples.probabilities[times], samples.predicted[times])
    assert sample_metrics(weighted) == pytest.approx(sample_metrics(repeated), nan_ok=True)
    # The patients of absent samples would be left out too, each alone.
    if (np.bincount(patients, weights) > 0)[np.unique(patients)].all():
        expected = sample_intervals(repeated, patients[times])
        for name, interval in sample_intervals(weighted, patients).items():
            assert interval == (None if expected[name] is None else pytest.approx(expected[name]))


@pytest.mark.parametrize("right", [0, 3, 30, 40])
def test_a_proportion_of_patients_with_a_sample_each_has_about_the_score_interval_of_scipy(right: int) -> None:
    labels, scores = np.ones(40, np.int64), np.where(np.arange(40) < right, 1.0, 0.0)
    found = sample_intervals(samples_of(labels, scores), np.arange(40))["recall"]
    expected = stats.binomtest(right, 40).proportion_ci(method="wilson")
    assert found is not None
    # Student's t makes it wider by about 3 %, and few errors by 20 %.
    assert found == pytest.approx((expected.low, expected.high), abs=0.03)
    assert width(found) >= expected.high - expected.low


def test_many_samples_of_a_patient_that_agree_say_as_much_as_one() -> None:
    rng = np.random.default_rng(0)
    labels, scores = rng.integers(0, 2, 40), rng.random(40)
    one = sample_intervals(samples_of(labels, scores), np.arange(40))
    many = sample_intervals(samples_of(np.repeat(labels, 25), np.repeat(scores, 25)), np.repeat(np.arange(40), 25))
    single = sample_intervals(samples_of(np.repeat(labels, 25), np.repeat(scores, 25)), np.arange(1000))
    for name in ("recall", "precision", "f1", "accuracy", "balanced_accuracy", "roc_auc"):
        assert many[name] == pytest.approx(one[name])
        assert width(many[name]) > 4 * width(single[name])


def test_a_roc_auc_has_about_the_interval_of_delong() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(300) % 2
    scores = stats.norm.cdf(rng.normal(size=300) + labels)
    # DeLong, DeLong and Clarke-Pearson 1988: variances of the placements.
    wins = scores[labels == 1][:, None] > scores[labels == 0]
    error = math.sqrt(wins.mean(axis=1).var(ddof=1) / 150 + wins.mean(axis=0).var(ddof=1) / 150)
    found = sample_intervals(samples_of(labels, scores), np.arange(300))["roc_auc"]
    assert width(found) == pytest.approx(2 * 1.96 * error, rel=0.05)


def test_means_over_scans_have_about_the_t_interval_of_scipy_and_scans_of_a_patient_go_together() -> None:
    rng = np.random.default_rng(0)
    dice = np.repeat(rng.uniform(0.4, 0.8, 30), 5)
    cases = [{"dice/a": value, "dice/b": math.nan, "hd95_mm/a": 2 + value, "missed/a": 0.0} for value in dice]
    grouped = scan_intervals(cases, np.repeat(np.arange(30), 5).tolist())
    single = scan_intervals(cases, [f"patient {number}" for number in range(150)])
    assert grouped.keys() == {"dice", "dice/a", "dice/b", "hd95_mm/a"}
    assert grouped["dice"] == grouped["dice/a"]
    expected = stats.t.interval(0.95, 29, dice.mean(), stats.sem(dice[::5]))
    assert grouped["dice"] == pytest.approx(expected, abs=0.004)
    assert width(grouped["hd95_mm/a"]) == pytest.approx(np.ptp(expected), rel=0.05)
    assert width(grouped["dice"]) > 2 * width(single["dice"])
    assert grouped["dice/b"] is None
    assert scan_intervals([], []) == {}


def test_an_interval_is_withheld_where_too_few_patients_bear_on_a_metric() -> None:
    labels, scores = np.array([1, 1, 1, 1, 0, 0, 0, 0, 0]), np.array([0.9, 0.2, 0.7, 0.8, 0.1, 0.3, 0.6, 0.2, 0.4])
    intervals = sample_intervals(samples_of(labels, scores), np.arange(9))
    assert {name for name, interval in intervals.items() if interval is None} == {
        *("recall", "precision", "balanced_accuracy", "roc_auc", "average_precision")
    }
    one_patient = sample_intervals(samples_of(labels, scores), np.zeros(9, int))
    assert set(one_patient.values()) == {None}
    values = [{"dice/a": 0.9}, {"dice/a": 0.8}, {"dice/a": 0.7}]
    assert scan_intervals([*values, {"dice/a": math.nan}], list("abcd"))["dice/a"] is None


def test_values_that_are_all_equal_have_an_interval_with_a_width_or_none() -> None:
    cases = [{"dice/a": 1.0, "hd95_mm/a": 1.0}] * 8
    intervals = scan_intervals(cases, list(range(8)))
    assert intervals["dice"] == (pytest.approx(8 / (8 + stats.t.ppf(0.975, 7) ** 2)), 1)
    assert intervals["hd95_mm/a"] is None
    assert METRICS["hd95_mm"].no_interval.endswith("or the same value in all")
    assert METRICS["cpm"].no_interval == "no interval: too few patients"
    rate = scan_intervals([{"false_positives_per_scan": 0.0}] * 800, list(range(800)))["false_positives_per_scan"]
    assert rate == (0, pytest.approx(stats.chi2.ppf(0.975, 2) / 2 / 800))
    assert scan_intervals([{"false_positives_per_scan": 0.0}] * 8, list("aabbccdd")) == {
        "false_positives_per_scan": None
    }


@pytest.mark.parametrize(("share", "patients", "samples"), [(0.9, 5, 1), (0.7, 10, 8), (0.95, 20, 20)])
def test_intervals_hold_the_truth_as_often_as_they_say(share: float, patients: int, samples: int) -> None:
    rng, hits = np.random.default_rng(patients), 0
    owners = np.repeat(np.arange(patients), samples)
    for _ in range(150):
        found = rng.random(len(owners)) < rng.beta(5 * share, 5 * (1 - share), patients)[owners]
        intervals = sample_intervals(samples_of(np.ones(len(owners), np.int64), found.astype(float)), owners)
        low, high = intervals["recall"] or (0, 0)
        hits += low <= share <= high
    assert hits >= 0.93 * 150


def test_many_patients_are_left_out_in_groups_and_give_about_the_same_interval() -> None:
    rng = np.random.default_rng(0)
    patients = 10 * MOST_GROUPS
    labels, scores = rng.integers(0, 2, patients), rng.random(patients)
    samples = samples_of(labels, scores)
    positives = int(labels.sum())
    expected = stats.binomtest(int((scores[labels == 1] >= 0.5).sum()), positives).proportion_ci(method="wilson")
    intervals = sample_intervals(samples, np.arange(patients))
    assert width(intervals["recall"]) == pytest.approx(expected.high - expected.low, rel=0.15)
    assert intervals == sample_intervals(samples, np.arange(patients))


@HARMLESS
@pytest.mark.parametrize("only", [0, 1])
def test_a_single_class_leaves_the_other_metrics_defined(only: int) -> None:
    labels, scores = np.full(12, only), np.linspace(0.1, 0.9, 12)
    values, intervals = (
        sample_metrics(samples_of(labels, scores)),
        sample_intervals(samples_of(labels, scores), np.arange(12)),
    )
    assert values["accuracy"] == pytest.approx(sk.accuracy_score(labels, scores >= 0.5))
    assert values["precision"] == pytest.approx(sk.precision_score(labels, scores >= 0.5))
    assert math.isnan(values["roc_auc"])
    assert math.isnan(values["recall"]) == (only == 0)
    assert width(intervals["accuracy"]) > 0
    assert intervals["roc_auc"] is None
    assert without_nan(intervals)["accuracy"] is not None


def test_no_sample_that_counts_leaves_every_metric_undefined() -> None:
    for samples in (
        samples_of(np.array([0, 1] * 6), np.linspace(0, 1, 12), np.zeros(12)),
        samples_of(np.zeros(0, np.int64), np.zeros(0)),
    ):
        assert all(map(math.isnan, sample_metrics(samples).values()))
        assert set(sample_intervals(samples, np.arange(len(samples.labels))).values()) == {None}
    assert mean_metrics([]) == {}


def test_a_probability_that_is_not_a_number_leaves_every_metric_undefined_and_ends_an_evaluation() -> None:
    scores = np.linspace(0, 1, 12)
    scores[3] = math.nan
    samples = samples_of(np.array([0, 1] * 6), scores)
    assert all(map(math.isnan, sample_metrics(samples).values()))
    assert set(sample_intervals(samples, np.arange(12)).values()) == {None}
    with pytest.raises(WorkError, match=r"split 'val': the network gives no probability \(NaN\) to 1 of 12 patches\."):
        check_probabilities(samples.probabilities, "val")


def test_ties_count_half_as_in_scikit_learn() -> None:
    labels, scores = np.array([0, 1, 0, 1, 1, 0]), np.full(6, 0.5)
    values = sample_metrics(samples_of(labels, scores))
    assert values["roc_auc"] == sk.roc_auc_score(labels, scores) == 0.5
    assert values["average_precision"] == sk.average_precision_score(labels, scores)
