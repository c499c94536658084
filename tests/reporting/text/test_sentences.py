"""Metrics of whole scans as text, and as strips."""

import math
from typing import Any

import numpy as np
import pytest

from voxray.reporting.charts.scan_strips import SPREAD, swarm
from voxray.reporting.run.segmentation_parts import group_keys, headline_metrics
from voxray.reporting.text.caveats import scan_caveats
from voxray.reporting.text.metric_values import metric_value
from voxray.reporting.text.sentences import scans_sentence

CLASSES = ("background", "head", "tail")
METRICS: dict[str, Any] = {
    "dice": 0.8,
    "dice/head": 0.9,
    "dice/tail": 0.7,
    "hd95_mm/head": 1.5,
    "hd95_mm/tail": None,
    "missed/head": 2.0,
    "odd_metric/head": 3.0,
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
    hd95 = metric_value("hd95_mm/head", METRICS, CLASSES)
    assert (hd95.label, hd95.text, hd95.interval) == ("HD95, head", "1.50\u202fmm", "1.25 to 2.00")
    assert not hd95.is_share
    assert metric_value("dice/head", METRICS, CLASSES).text == "0.900"
    assert metric_value("missed/head", METRICS, CLASSES).text == "2"
    assert "within 2.5 mm" in metric_value("surface_dice/head", METRICS, CLASSES, 2.5).description


def test_an_undefined_metric_is_a_dash_with_a_reason() -> None:
    hd95 = metric_value("hd95_mm/tail", METRICS, CLASSES)
    assert (hd95.text, hd95.value, hd95.interval) == ("–", None, "")
    assert "no scan" in hd95.undefined


def test_every_metric_has_a_row_even_one_that_is_not_registered() -> None:
    rows = dict(group_keys({"val": METRICS}, CLASSES))
    assert rows == {
        "dice": ["dice", "dice/head", "dice/tail"],
        "hd95_mm": ["hd95_mm/head", "hd95_mm/tail"],
        "missed": ["missed/head"],
        "odd_metric": ["odd_metric/head"],
    }
    assert metric_value("odd_metric/head", METRICS, CLASSES).label == "Odd metric, head"


def test_the_dice_of_a_class_is_the_headline_where_it_is_the_monitor() -> None:
    values = headline_metrics(METRICS, CLASSES, 1.0, 1, f"dice/{CLASSES[1]}")
    assert [value.label for value in values] == [f"Dice, {CLASSES[1]}", "Dice", "HD95"]


def test_the_headline_is_mean_dice_then_each_class_then_distance() -> None:
    values = headline_metrics(METRICS, CLASSES, 1.0, 3)
    assert [value.label for value in values] == ["Dice", "Dice, head", "Dice, tail", "HD95"]
    assert values[-1].note == "worst class 1.50"
    assert [value.label for value in headline_metrics(METRICS, CLASSES, 1.0, 1)] == ["Dice", "HD95"]


def test_the_sentence_gives_median_and_range() -> None:
    sentence = scans_sentence(METRICS, CASES, CLASSES, "val")
    assert sentence == (
        "The mean Dice of head and tail is 0.800 over 3 scans of the validation split, "
        "per scan: median 0.700, range 0.500 to 0.900."
    )
    assert "no metric is defined" in scans_sentence(METRICS, [{"scan_id": "a", "dice": math.nan}], CLASSES, "test")


def test_scans_that_a_mean_excludes_are_counted() -> None:
    assert list(scan_caveats({"val": CASES}, CLASSES)) == [
        "Dice of tail excludes 1 of 3 scans in the validation split, where neither ground truth nor prediction has "
        "the class."
    ]


@pytest.mark.parametrize("count", [1, 2, 9, 60])
def test_dots_of_equal_values_do_not_hide_each_other(count: int) -> None:
    offsets = swarm(np.full(count, 0.8))
    assert len(np.unique(offsets.round(9))) == count
    assert np.abs(offsets).max() <= SPREAD + 1e-9
    assert swarm(np.array([0.1, 0.5, 0.9])).tolist() == [0, 0, 0]
