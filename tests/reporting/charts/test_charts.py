"""The data of the charts."""

from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from voxray.reporting.charts.classifier_curves import calibration_bins
from voxray.reporting.charts.learning_curves import learning_charts
from voxray.reporting.run.contents import RunContents
from voxray.visualization.style import new_axes, styled, thin_curve, to_svg


@pytest.mark.parametrize("seed", range(3))
def test_calibration_agrees_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    predicted = rng.random(200) ** 2
    outcomes = (rng.random(200) < predicted).astype(float)
    observed, mean = calibration_curve(outcomes, predicted, n_bins=10)
    bins = calibration_bins(predicted, outcomes)
    np.testing.assert_allclose(bins[0], mean)
    np.testing.assert_allclose(bins[1], observed)
    assert bins[2].sum() == 200


def test_a_probability_of_one_falls_into_the_last_bin() -> None:
    predicted, observed, sizes = calibration_bins(np.array([0.95, 1.0]), np.array([0.0, 1.0]))
    assert (predicted.tolist(), observed.tolist(), sizes.tolist()) == ([0.975], [0.5], [2.0])


@given(count=st.integers(2, 3000), limit=st.integers(2, 200))
def test_a_thinned_curve_keeps_its_ends_and_its_order(count: int, limit: int) -> None:
    x = np.linspace(0, 1, count)
    thin_x, thin_y = thin_curve(x, x**2, limit)
    assert 2 <= len(thin_x) <= max(limit, 2)
    assert (thin_x[0], thin_x[-1]) == (0, 1)
    assert (np.diff(thin_x) > 0).all()
    assert (thin_y == thin_x**2).all()


def test_drawing_leaves_the_settings_of_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)

    @styled
    def draw() -> str:
        figure, axes = new_axes((2, 2), "x < 1", "y")
        axes.plot([0, 1], [0, 1])
        return to_svg(figure, "name", 'say "hello"')

    svg = draw()
    assert dict(mpl.rcParams) == before
    assert svg.startswith("<svg ")
    assert 'aria-label="say &#34;hello&#34;"' in svg
    assert "x &lt; 1" in svg
    assert "<style" not in svg
    assert "font-family" not in svg


def test_the_metric_that_selects_the_epoch_is_among_the_curves(make_run: Callable[..., RunContents]) -> None:
    run = make_run()
    training = run.experiment.training.model_copy(update={"monitor": "balanced_accuracy"})
    chosen = replace(run, experiment=run.experiment.model_copy(update={"training": training}))
    assert "balanced accuracy" in learning_charts(chosen)["validation"]
    assert "balanced accuracy" not in learning_charts(run)["validation"]
    stopping = run.experiment.training.model_copy(update={"early_stopping_monitor": "f1", "monitor": "loss"})
    stopped = replace(run, experiment=run.experiment.model_copy(update={"training": stopping}))
    assert "F1" in learning_charts(stopped)["validation"]
