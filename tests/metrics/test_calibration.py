import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn import metrics as sk
from sklearn.calibration import calibration_curve

from voxray.metrics.aggregate import log_loss
from voxray.metrics.calibration import FEWEST, HIGHEST, Calibration, fit_calibration
from voxray.metrics.calibration_error import calibration_bins, calibration_error, calibration_error_interval

NONE = np.zeros(2)


def overconfident(
    rng: np.random.Generator, samples: int, classes: int, temperature: float
) -> tuple[np.ndarray, np.ndarray]:
    """Labels drawn from probabilities, and logits that claim those probabilities too strongly."""
    true = rng.normal(0, 2, (samples, classes))
    labels = (softmax(true, axis=1).cumsum(axis=1) > rng.random((samples, 1))).argmax(axis=1)
    return true * temperature, labels


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_the_temperature_is_the_one_that_was_hidden_and_scipys_optimum(classes: int, temperature: float) -> None:
    logits, labels = overconfident(np.random.default_rng(0), 20_000, classes, temperature)
    found = fit_calibration(logits, labels, np.arange(20_000), np.zeros(classes))
    assert found.temperature == pytest.approx(temperature, rel=0.05)
    assert not found.note
    # Convex in 1 / temperature.
    best = minimize_scalar(lambda scale: sk.log_loss(labels, softmax(scale * logits, axis=1)), bracket=(0.05, 0.2))
    assert found.temperature == pytest.approx(1 / best.x, rel=1e-5)
    before, after = softmax(logits, axis=1), found.apply(logits)
    assert sk.log_loss(labels, after) <= sk.log_loss(labels, before)
    assert calibration_error(labels, after) < 0.02


def test_offsets_are_held_while_the_temperature_is_fitted() -> None:
    rng = np.random.default_rng(1)
    logits, labels = overconfident(rng, 30_000, 2, 2.0)
    offsets = np.array([0.0, -math.log(4)])
    # Training saw four times the odds of class 1.
    shifted = logits - 2.0 * offsets
    found = fit_calibration(shifted, labels, np.arange(len(labels)), offsets)
    assert found.temperature == pytest.approx(2.0, rel=0.05)
    assert calibration_error(labels, found.apply(shifted)) < 0.01 < calibration_error(labels, softmax(shifted, axis=1))


def test_the_loss_of_means_over_patients_is_what_is_minimized() -> None:
    rng = np.random.default_rng(2)
    logits, labels = overconfident(rng, 60, 3, 1.5)
    members = np.repeat(np.arange(60), 4)
    patches = np.repeat(logits, 4, axis=0) + rng.normal(0, 3, (240, 3))
    found = fit_calibration(patches, labels[members], members, np.zeros(3))

    def loss(temperature: float) -> float:
        return float(sk.log_loss(labels, softmax(patches / temperature, axis=1).reshape(60, 4, 3).mean(axis=1)))

    best = min(np.geomspace(0.3, 10, 400), key=loss)
    assert found.temperature == pytest.approx(best, rel=1e-2)


@given(st.data())
def test_the_ranking_of_two_classes_stays_the_same(data: st.DataObject) -> None:
    count = data.draw(st.integers(4, 80))
    grid = st.integers(-400, 400).map(lambda number: number / 50)  # with ties, and no saturated probability
    scores = np.array(data.draw(st.lists(grid, min_size=count, max_size=count)))
    logits, labels = np.column_stack([np.zeros(count), scores]), np.arange(count) % 2
    calibration = Calibration(data.draw(st.floats(0.5, 20)), (0.0, data.draw(st.floats(-5, 5))))
    after = calibration.apply(logits)[:, 1]
    assert sk.roc_auc_score(labels, after) == sk.roc_auc_score(labels, scores)
    np.testing.assert_allclose(calibration.undo(calibration.apply(logits)), softmax(logits, axis=1), atol=1e-9)


def test_probabilities_without_calibration_are_the_softmax() -> None:
    logits = np.random.default_rng(0).normal(0, 300, (50, 4))
    np.testing.assert_allclose(Calibration().apply(logits), softmax(logits, axis=1), rtol=1e-13, atol=0)


def test_a_split_that_is_separated_perfectly_determines_no_temperature() -> None:
    labels = np.arange(40) % 2
    logits = np.column_stack([np.zeros(40), np.where(labels, 1.0, -1.0)])
    found = fit_calibration(logits, labels, np.arange(40), np.array([0.0, -1.0]))
    assert (found.temperature, found.offsets) == (1.0, (0.0, -1.0))
    assert found.note == "the model separates the classes of validation perfectly"


def test_a_model_that_is_worse_than_chance_gets_the_highest_temperature() -> None:
    labels = np.arange(40) % 2
    logits = np.column_stack([np.zeros(40), np.where(labels, -1.0, 1.0)])
    found = fit_calibration(logits, labels, np.arange(40), NONE)
    assert found.temperature == pytest.approx(HIGHEST / 2)  # times the spread of the logits
    assert found.note == "the model is no better than chance on validation"
    assert fit_calibration(np.zeros((40, 2)), labels, np.arange(40), NONE).note == found.note
    np.testing.assert_allclose(found.apply(logits), 0.5, atol=0.02)


@settings(max_examples=25)
@given(st.integers(0, 99), st.floats(1e-6, 1e6), st.sampled_from([0.0, -1.5]))
def test_the_temperature_has_the_unit_of_the_logits(seed: int, factor: float, offset: float) -> None:
    logits, labels = overconfident(np.random.default_rng(seed), 300, 2, 1.0)
    offsets = np.array([0.0, offset])
    one, other = (fit_calibration(scale * logits, labels, np.arange(300) // 3, offsets) for scale in (1.0, factor))
    assert other.temperature == pytest.approx(factor * one.temperature, rel=1e-4)
    assert other.note == one.note


def test_ties_and_errors_are_no_perfect_separation() -> None:
    labels = np.repeat(np.arange(20) % 2, 2)
    logits = np.column_stack([np.zeros(40), np.where(labels, 1.0, -1.0)])
    logits[:4, 1] *= -1
    assert not fit_calibration(logits, labels, np.arange(40), NONE).note
    logits = np.column_stack([np.zeros(40), np.where(labels, 1.0, -1.0)])
    logits[:4, 1] = 0
    found = fit_calibration(logits, labels, np.arange(40), NONE)
    assert found.note == "the lower the temperature, the likelier is validation"
    logits[0] = math.nan
    assert fit_calibration(logits, labels, np.arange(40), NONE).note == "the network gives values that are not numbers"


@pytest.mark.parametrize("labels", [np.zeros(40, np.int64), np.ones(40, np.int64)])
def test_one_class_determines_no_temperature(labels: np.ndarray) -> None:
    logits = np.random.default_rng(0).normal(0, 1, (40, 2))
    found = fit_calibration(logits, labels, np.arange(40), NONE)
    assert (found.temperature, found.note) == (1.0, "validation has one class only")


def test_few_samples_determine_no_temperature() -> None:
    rng = np.random.default_rng(0)
    logits, labels = overconfident(rng, 90, 2, 1.0)
    found = fit_calibration(logits, labels, np.arange(90) // 10, NONE)
    assert found.temperature == 1.0
    assert f"9 samples, fewer than the {FEWEST}" in found.note
    assert not fit_calibration(logits, labels, np.arange(90), NONE).note
    assert fit_calibration(np.empty((0, 2)), labels[:0], labels[:0], NONE).note


def test_logits_of_any_size_have_a_finite_loss() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    logits = rng.normal(0, 1e4, (200, 3))
    found = fit_calibration(logits, labels, np.arange(200) // 2, np.zeros(3))
    assert 1e3 < found.temperature < math.inf
    losses = log_softmax(logits / found.temperature, axis=1)[np.arange(200), labels]
    assert np.isfinite(losses).all()


@pytest.mark.parametrize("seed", range(3))
def test_the_diagram_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.random(200) ** 2
    outcomes = (rng.random(200) < predicted).astype(np.int64)
    observed, mean = calibration_curve(outcomes, predicted, n_bins=10)
    bins = calibration_bins(outcomes, np.column_stack([1 - predicted, predicted]))
    np.testing.assert_allclose(bins[0], mean)
    np.testing.assert_allclose(bins[1], observed)
    assert bins[2].sum() == 200


def test_a_probability_of_one_falls_into_the_last_bin() -> None:
    probabilities = np.array([[0.05, 0.95], [0.0, 1.0]])
    predicted, observed, sizes = calibration_bins(np.array([0, 1]), probabilities)
    assert (predicted.tolist(), observed.tolist(), sizes.tolist()) == ([0.975], [0.5], [2.0])


@given(
    st.lists(st.tuples(st.integers(0, 1), st.integers(0, 1000).map(lambda number: number / 1000)), min_size=1),
)
def test_the_error_of_two_classes_is_the_sum_over_ten_bins(data: list[tuple[int, float]]) -> None:
    labels, scores = np.array([label for label, _ in data]), np.array([score for _, score in data])
    expected = 0.0
    for start in range(10):
        inside = [
            (label, score) for label, score in data if start <= score * 10 < start + 1 or (start == 9 and score == 1)
        ]
        expected += abs(sum(label - score for label, score in inside)) / len(data)
    probabilities = np.column_stack([1 - scores, scores])
    assert calibration_error(labels, probabilities) == pytest.approx(expected, abs=1e-12)
    means, shares, sizes = calibration_bins(labels, probabilities)
    assert sizes.sum() == len(data)
    assert ((means >= 0) & (means <= 1) & (shares >= 0) & (shares <= 1)).all()


def test_the_error_of_more_classes_is_that_of_the_predicted_class() -> None:
    labels = np.array([0, 1, 2, 2])
    probabilities = np.array([[0.75, 0.15, 0.1], [0.75, 0.15, 0.1], [0.1, 0.3, 0.6], [0.2, 0.15, 0.65]])
    # Two of .75, one of which is right; two of .6 to .7, both right.
    assert calibration_error(labels, probabilities) == pytest.approx((2 * 0.25 + 2 * 0.375) / 4)
    assert math.isnan(calibration_error(labels[:0], probabilities[:0]))


@pytest.mark.parametrize("shift", [0.0, 1.0])
@pytest.mark.parametrize("patients", [5, 10, 40])
def test_the_interval_of_the_error_covers_the_truth(shift: float, patients: int) -> None:
    rng, hits, width, trials = np.random.default_rng(3), 0, [], 60

    def draw(patients: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        member = np.repeat(np.arange(patients), 12)
        scores = 1 / (1 + np.exp(-rng.normal(0, 1, len(member)) - rng.normal(0, 0.5, patients)[member]))
        labels = (rng.random(len(member)) < 1 / (1 + np.exp(-np.log(scores / (1 - scores)) + shift))).astype(np.int64)
        return labels, np.column_stack([1 - scores, scores]), member.astype(str)

    labels, probabilities, _ = draw(40_000)
    truth = calibration_error(labels, probabilities)
    for _ in range(trials):
        interval = calibration_error_interval(*draw(patients), resamples=100)
        assert interval
        low, high = interval
        hits += low - 1e-3 <= truth <= high
        width.append(high - low)
    assert hits >= 0.9 * trials
    assert min(width) > 0


def test_four_patients_give_the_error_no_interval() -> None:
    labels = np.random.default_rng(0).integers(0, 2, 40)
    probabilities = np.full((40, 2), 0.5)
    for patients, is_defined in ((4, False), (5, True)):
        names = (np.arange(40) * 7 % patients).astype(str)
        assert (calibration_error_interval(labels, probabilities, names) is not None) == is_defined


def test_weights_count_samples_several_times() -> None:
    logits, labels = overconfident(np.random.default_rng(4), 300, 2, 2.0)
    times = np.where(labels == 0, 3, 1)
    repeated = np.repeat(np.arange(300), times)
    patients = (np.arange(300) // 10).astype(str)
    found = fit_calibration(logits, labels, np.arange(300), NONE, times.astype(float))
    expected = fit_calibration(logits[repeated], labels[repeated], np.arange(len(repeated)), NONE)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-6)
    probabilities = softmax(logits, axis=1)
    error = calibration_error(labels, probabilities, times.astype(float))
    assert error == pytest.approx(calibration_error(labels[repeated], probabilities[repeated]))
    interval = calibration_error_interval(labels, probabilities, patients, times.astype(float))
    alone = calibration_error_interval(labels[repeated], probabilities[repeated], patients[repeated])
    assert interval == pytest.approx(alone)


def test_samples_without_weight_are_as_if_they_were_absent() -> None:
    logits, labels = overconfident(np.random.default_rng(5), 300, 2, 2.0)
    weights, patients = np.where(np.arange(300) < 200, 2.5, 0.0), np.arange(300) // 10
    probabilities = Calibration().apply(logits)
    everything = (labels, probabilities, patients.astype(str))
    some = tuple(values[:200] for values in everything)
    assert calibration_error_interval(*everything, weights) == pytest.approx(calibration_error_interval(*some))
    assert calibration_error(labels, probabilities, weights) == pytest.approx(calibration_error(*some[:2]))
    assert log_loss(labels, probabilities, weights) == pytest.approx(sk.log_loss(labels[:200], probabilities[:200]))
    found = fit_calibration(logits, labels, patients, NONE, weights)
    expected = fit_calibration(logits[:200], labels[:200], patients[:200], NONE)
    assert found.temperature == pytest.approx(expected.temperature, rel=1e-6)


def test_without_any_weight_and_with_nan_nothing_is_defined() -> None:
    logits, labels = overconfident(np.random.default_rng(6), 60, 2, 2.0)
    probabilities, patients, none = Calibration().apply(logits), np.arange(60).astype(str), np.zeros(60)
    assert math.isnan(calibration_error(labels, probabilities, none))
    assert calibration_error_interval(labels, probabilities, patients, none) is None
    assert math.isnan(log_loss(labels, probabilities, none))
    assert "0 samples, fewer than" in fit_calibration(logits, labels, np.arange(60), NONE, none).note
    probabilities[3] = math.nan
    assert math.isnan(calibration_error(labels, probabilities))
    assert calibration_error_interval(labels, probabilities, patients) is None
