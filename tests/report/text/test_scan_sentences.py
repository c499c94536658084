"""Figures of whole scans in words, and as strips."""

import math
from typing import Any

import numpy as np
import pytest

from voxray.report.charts.scan_strips import SPREAD, swarm
from voxray.report.text.scan_sentences import figure_rows, headline_figures, scan_cautions, scan_figure, scans_sentence

CLASSES = ("background", "head", "tail")
METRICS: dict[str, Any] = {
    "dice": 0.8,
    "dice/head": 0.9,
    "dice/tail": 0.7,
    "hd95_mm/head": 1.5,
    "hd95_mm/tail": None,
    "missed/head": 2.0,
    "odd_figure/head": 3.0,
    "scans": 3,
    "patients": 3,
    "intervals": {"dice": [0.7, 0.9], "hd95_mm/head": [1.25, 2.0]},
}
CASES = [
    {"scan_id": "a", "dice": 0.9, "dice/head": 0.9, "dice/tail": math.nan},
    {"scan_id": "b", "dice": 0.5, "dice/head": 0.6, "dice/tail": 0.4},
    {"scan_id": "c", "dice": 0.7, "dice/head": 0.7, "dice/tail": 0.7},
]


def test_millimeters_have_a_unit_shares_three_decimals_and_counts_none() -> None:
    hd95 = scan_figure("hd95_mm/head", METRICS, 1.0)
    assert (hd95.name, hd95.text, hd95.interval) == ("HD95, head", "1.50\u202fmm", "1.25 to 2.00")
    assert not hd95.is_share
    assert scan_figure("dice/head", METRICS, 1.0).text == "0.900"
    assert scan_figure("missed/head", METRICS, 1.0).text == "2"
    assert "within 2.5 mm" in scan_figure("surface_dice/head", METRICS, 2.5).meaning


def test_an_undefined_figure_is_a_dash_with_a_reason() -> None:
    figure = scan_figure("hd95_mm/tail", METRICS, 1.0)
    assert (figure.text, figure.value, figure.interval) == ("–", None, "")
    assert "no scan" in figure.missing


def test_every_figure_has_a_row_even_one_that_nobody_described() -> None:
    rows = dict(figure_rows({"val": METRICS}, CLASSES))
    assert rows == {
        "dice": ["dice", "dice/head", "dice/tail"],
        "hd95_mm": ["hd95_mm/head", "hd95_mm/tail"],
        "missed": ["missed/head"],
        "odd_figure": ["odd_figure/head"],
    }
    assert scan_figure("odd_figure/head", METRICS, 1.0).name == "Odd figure, head"


def test_the_headline_is_mean_dice_then_each_class_then_distance() -> None:
    figures = headline_figures(METRICS, CLASSES, 1.0, 3)
    assert [figure.name for figure in figures] == ["Dice", "Dice, head", "Dice, tail", "HD95"]
    assert figures[-1].note == "worst class 1.50"
    assert [figure.name for figure in headline_figures(METRICS, CLASSES, 1.0, 1)] == ["Dice", "HD95"]


def test_the_sentence_tells_the_middle_and_both_ends() -> None:
    sentence = scans_sentence(METRICS, CASES, CLASSES, "val")
    assert sentence == (
        "The mean Dice of head and tail is 0.800 on 3 scans of the validation split. "
        "Half of them reach 0.700 or more; the best scan has 0.900, the worst 0.500."
    )
    assert "nothing to measure" in scans_sentence(METRICS, [{"scan_id": "a", "dice": math.nan}], CLASSES, "test")


def test_scans_that_a_mean_leaves_out_are_counted() -> None:
    assert list(scan_cautions({"val": CASES}, CLASSES)) == [
        "Dice of tail in the validation split leaves out 1 of 3 scans that have none of it, in truth or prediction."
    ]


@pytest.mark.parametrize("count", [1, 2, 9, 60])
def test_dots_of_equal_values_do_not_hide_each_other(count: int) -> None:
    offsets = swarm(np.full(count, 0.8))
    assert len(np.unique(offsets.round(9))) == count
    assert np.abs(offsets).max() <= SPREAD + 1e-9
    assert swarm(np.array([0.1, 0.5, 0.9])).tolist() == [0, 0, 0]
