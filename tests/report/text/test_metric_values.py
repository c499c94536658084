"""Numbers and sentences."""

from typing import Any

import pytest

from voxray.report.text.metric_values import cautions, count, make_figure, minus, operating_sentence, percent

CLASSES = ("other", "nodule")
METRICS: dict[str, Any] = {
    "level": "patch",
    "confusion_matrix": [[79, 21], [6, 57]],
    "threshold": 0.37,
    "patients": 40,
    "recall": 57 / 63,
    "intervals": {"recall": [0.8, 0.97]},
}


def test_the_sentence_says_what_the_operating_point_means() -> None:
    assert operating_sentence("test", METRICS, CLASSES, 0.9) == (
        "At threshold 0.370, chosen on validation for a recall of at least 0.90, the model finds 57 of 63 nodule "
        "patches (90\u202f%) in the test split and raises 21 false alarms on 100 other patches (21\u202f%)."
    )


def test_what_is_judged_is_named_in_sentences_and_meanings() -> None:
    patients = METRICS | {"level": "patient"}
    assert "57 of 63 nodule patients" in operating_sentence("test", patients, CLASSES, 0.9)
    assert make_figure("roc_auc", patients, CLASSES).meaning.startswith("chance that one nodule patient scores higher")
    assert "1.6 other patients for each nodule patient" in cautions({"val": patients}, CLASSES)[-1]


def test_one_false_alarm_is_not_alarms() -> None:
    sentence = operating_sentence("val", METRICS | {"confusion_matrix": [[9, 1], [0, 2]]}, CLASSES, 0.9)
    assert "raises 1 false alarm on" in sentence


def test_without_threshold_the_sentence_claims_none() -> None:
    assert operating_sentence("test", METRICS | {"threshold": None}, CLASSES, 0.9).startswith("With no operating point")


def test_a_figure_has_three_decimals_and_its_interval() -> None:
    figure = make_figure("recall", METRICS, CLASSES)
    assert (figure.text, figure.interval, figure.missing) == ("0.905", "0.800 to 0.970", "")
    assert "nodule" in figure.meaning


def test_one_patient_gives_no_interval() -> None:
    assert make_figure("recall", METRICS | {"patients": 1}, CLASSES).low is None


def test_a_missing_figure_has_a_dash_a_reason_and_no_interval() -> None:
    figure = make_figure("recall", METRICS | {"recall": None, "intervals": {"recall": [None, None]}}, CLASSES)
    assert (figure.text, figure.interval, figure.value) == ("–", "", None)
    assert figure.missing


def test_few_patients_and_the_want_of_a_test_split_are_said() -> None:
    assert len(cautions({"val": METRICS, "test": METRICS}, CLASSES)) == 1
    text = " ".join(cautions({"val": METRICS | {"patients": 3}}, CLASSES))
    assert "no test split" in text
    assert "validation has 3 patients" in text
    assert "1.6 other patches for each nodule patch" in text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, "0\u202f%"), (1, 1000, "<1\u202f%"), (999, 1000, ">99\u202f%"), (5, 5, "100\u202f%"), (0, 0, "–")],
)
def test_only_all_is_100_percent_and_only_none_is_0(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


def test_nouns_and_signs_are_written_as_in_print() -> None:
    assert (count(1, "patch"), count(2, "patch"), count(1200, "epoch")) == ("1 patch", "2 patches", "1,200 epochs")
    assert minus("-3 mm") == "\u22123 mm"
