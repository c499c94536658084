"""The data of the charts."""

from collections.abc import Callable
from dataclasses import replace

import matplotlib as mpl
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from voxray.reporting.charts.learning_curves import learning_charts
from voxray.reporting.run.contents import RunContents
from voxray.visualization.style import new_axes, styled, thin_curve, to_svg


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
