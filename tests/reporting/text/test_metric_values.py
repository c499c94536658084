"""Numbers and sentences."""

from typing import Any

import pytest

from voxray.reporting.text.caveats import classifier_caveats
from voxray.reporting.text.metric_values import inline_label, metric_value
from voxray.reporting.text.numbers import count, interval_text, minus, percent, probability_percent
from voxray.reporting.text.sentences import operating_sentence

CLASSES = ("other", "nodule")
METRICS: dict[str, Any] = {
    "level": "patch",
    "confusion_matrix": [[79, 21], [6, 57]],
    "threshold": 0.37,
    "patients": 40,
    "recall": 57 / 63,
    "intervals": {"recall": [0.8, 0.97]},
}


def test_the_sentence_gives_the_performance_at_the_operating_point() -> None:
    assert operating_sentence("test", METRICS, CLASSES, 0.9) == (
        "At threshold 0.370, chosen on validation for a recall of at least 0.90, the model detects 57 of 63 nodule "
        "patches (90\u202f%) in the test split, with 21 false positives among 100 other patches (21\u202f%)."
    )


def test_the_level_is_named_in_sentences_and_descriptions() -> None:
    patients = METRICS | {"level": "patient"}
    assert "57 of 63 nodule patients" in operating_sentence("test", patients, CLASSES, 0.9)
    assert metric_value("roc_auc", patients, CLASSES).description.startswith(
        "probability that a patient of class nodule scores higher"
    )
    assert "1.6 other patients per nodule patient" in list(classifier_caveats({"val": patients}, CLASSES))[-1]


def test_one_false_positive_is_not_positives() -> None:
    sentence = operating_sentence("val", METRICS | {"confusion_matrix": [[9, 1], [0, 2]]}, CLASSES, 0.9)
    assert "with 1 false positive among" in sentence


def test_without_threshold_the_sentence_claims_none() -> None:
    assert operating_sentence("test", METRICS | {"threshold": None}, CLASSES, 0.9).startswith(
        "Without an operating point"
    )


def test_a_metric_has_three_decimals_and_its_interval() -> None:
    recall = metric_value("recall", METRICS, CLASSES)
    assert (recall.text, recall.interval, recall.undefined) == ("0.905", "0.800 to 0.970", "")
    assert "nodule" in recall.description


def test_a_withheld_interval_is_named_and_a_metric_that_has_none_says_nothing() -> None:
    recall = metric_value("recall", METRICS | {"intervals": {"recall": None}}, CLASSES)
    assert (recall.text, recall.low, recall.interval) == ("0.905", None, "")
    assert recall.note == "no interval: too few patients"
    assert metric_value("loss", METRICS | {"loss": 0.3}, CLASSES).note == ""


def test_an_interval_never_reads_as_one_of_width_zero() -> None:
    assert interval_text(0.99981, 0.99987) == "0.9998 to 0.9999"
    assert interval_text(0.999812, 0.999814) == "0.999812 to 0.999814"
    assert interval_text(0.9, 0.95, 3, ", ") == "0.900, 0.950"


def test_an_undefined_metric_has_a_dash_a_reason_and_no_interval() -> None:
    recall = metric_value("recall", METRICS | {"recall": None, "intervals": {"recall": None}}, CLASSES)
    assert (recall.text, recall.interval, recall.value) == ("–", "", None)
    assert recall.undefined


def test_few_patients_and_a_missing_test_split_are_caveats() -> None:
    assert len(list(classifier_caveats({"val": METRICS, "test": METRICS}, CLASSES))) == 1
    text = " ".join(classifier_caveats({"val": METRICS | {"patients": 3}}, CLASSES))
    assert "no test split" in text
    assert "validation has 3 patients" in text
    assert "none where it rests on fewer than 5 patients" in text
    assert "1.6 other patches per nodule patch" in text


@pytest.mark.parametrize(
    ("part", "whole", "text"),
    [(0, 5, "0\u202f%"), (1, 1000, "<1\u202f%"), (999, 1000, ">99\u202f%"), (5, 5, "100\u202f%"), (0, 0, "–")],
)
def test_only_all_is_100_percent_and_only_none_is_0(part: int, whole: int, text: str) -> None:
    assert percent(part, whole) == text


def test_nouns_and_signs_are_written_as_in_print() -> None:
    assert (count(1, "patch"), count(2, "patch"), count(1200, "epoch")) == ("1 patch", "2 patches", "1,200 epochs")
    assert minus("-3 mm") == "\u22123 mm"


@pytest.mark.parametrize(
    ("key", "label"),
    [
        ("balanced_accuracy", "balanced accuracy"),
        ("roc_auc", "ROC AUC"),
        ("f1", "F1"),
        ("surface_dice", "surface Dice"),
    ],
)
def test_labels_in_sentences_keep_names_and_abbreviations(key: str, label: str) -> None:
    assert inline_label(key) == label


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.625, "62.5 %"),
        (0.0101, "1.0 %"),
        (0.0042, "0.42 %"),
        (0.000042, "0.0042 %"),
        (2e-6, "0.00020 %"),
        (3e-9, "< 0.0001 %"),
        (0.0, "< 0.0001 %"),
        (0.99958, "99.958 %"),
        (1.0, "> 99.9999 %"),
        (None, "–"),
    ],
)
def test_a_probability_is_never_rounded_to_none_or_all(value: float | None, text: str) -> None:
    assert probability_percent(value) == text
