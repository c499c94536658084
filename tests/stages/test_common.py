from typing import Any

from voxray.stages.common import echo_metrics

CLASSES = {
    "other": {"precision": 0.975, "recall": 0.9, "f1": 0.936, "specificity": 0.75, "support": 1300},
    "nodule": {"precision": None, "recall": 0.0, "f1": 0.0, "specificity": 1.0, "support": 12},
}
MEANS = {"precision": 0.975, "recall": 0.45, "f1": 0.468, "specificity": 0.875}
METRICS: dict[str, Any] = {
    "recall": 0.5,
    "balanced_accuracy": 0.75,
    "intervals": {"recall": [0.25, 0.75], "balanced_accuracy": [0.5, 1.0]},
}


def lines_of(metrics: dict[str, Any], monitor: str) -> list[str]:
    lines: list[str] = []
    echo_metrics({"val": metrics}, monitor, lines.append)
    return lines


def test_the_monitor_of_the_experiment_comes_first_in_the_terminal() -> None:
    (line,) = lines_of(METRICS, "balanced_accuracy")
    assert line == "evaluate: val: balanced_accuracy 0.750 [0.500, 1.000], recall 0.500 [0.250, 0.750]"
    (line,) = lines_of(METRICS, "loss")
    assert line == "evaluate: val: recall 0.500 [0.250, 0.750]"


def test_the_metrics_of_each_class_are_a_table_in_the_terminal() -> None:
    _, *table = lines_of(METRICS | {"classes": CLASSES, "macro": MEANS, "weighted": MEANS}, "loss")
    assert table == [
        "evaluate: val: Class          Precision  Recall     F1  Specificity  Support",
        "evaluate: val: other              0.975   0.900  0.936        0.750    1,300",
        "evaluate: val: nodule                 –   0.000  0.000        1.000       12",
        "evaluate: val: macro mean         0.975   0.450  0.468        0.875    1,312",
        "evaluate: val: weighted mean      0.975   0.450  0.468        0.875    1,312",
    ]
