"""The metrics of a run in the terminal."""

from typing import Any

from voxray.stages.common import echo_metrics


def test_values_have_their_interval_or_the_terminal_says_why_not() -> None:
    values: dict[str, Any] = {"recall": 0.9, "precision": 0.99985, "roc_auc": None}
    said: list[str] = []
    intervals: dict[str, Any] = {"recall": None, "precision": [0.9998, 0.99991], "roc_auc": None}
    echo_metrics({"val": {**values, "intervals": intervals}}, "loss", said.append)
    assert said == [
        "evaluate: val: recall 0.900, precision 1.000 [0.9998, 0.9999], roc_auc –",
        "note: val: no interval: too few patients (recall)",
    ]
    said.clear()
    echo_metrics({"test": {"recall": 1.0, "intervals": {"recall": None}}}, "loss", said.append)
    assert said == ["evaluate: test: recall 1.000", "note: test: no interval: too few patients"]
