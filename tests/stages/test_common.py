from typing import Any

from voxray.stages.common import echo_metrics

CLASSES = {
    "other": {
        "precision": 0.975,
        "recall": 0.9,
        "f1": 0.936,
        "specificity": 0.75,
        "support": 1300,
        "intervals": {"precision": [0.96, 0.98], "recall": [0.88, 0.92], "f1": None},
    },
    "nodule": {"precision": None, "recall": 0.0, "f1": 0.0, "specificity": 1.0, "support": 12},
}
ENDS = {"intervals": {"precision": [0.96, 0.98], "recall": [0.88, 0.92], "f1": None}}
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
    classes = CLASSES | {"other": CLASSES["other"] | ENDS}
    _, *table = lines_of(METRICS | {"classes": classes, "macro": MEANS, "weighted": MEANS}, "loss")
    assert table == [
        "  Class             Precision        Recall     F1  Specificity  Support",
        "  other                 0.975         0.900  0.936        0.750    1,300",
        "                 [0.96, 0.98]  [0.88, 0.92]",
        "  nodule                    –         0.000  0.000        1.000       12",
        "  macro mean            0.975         0.450  0.468        0.875    1,312",
        "  weighted mean         0.975         0.450  0.468        0.875    1,312",
    ]


def test_a_thinned_split_has_a_line_of_what_depends_on_the_mix() -> None:
    values = {"precision": 0.576, "recall": 0.5, "false_positives_per_scan": None}
    intervals = {"precision": [0.5, 0.75], "recall": [0.25, 0.75]}
    population = {
        "precision": 0.0165,
        "recall": 0.5,
        "false_positives_per_scan": 85.0,
        "class_counts": [1410, 34],
        "classes": CLASSES,
        "macro": MEANS,
        "weighted": MEANS,
        "intervals": {**intervals, "precision": [0.01, 0.03], "false_positives_per_scan": None},
    }
    assert lines_of({**values, "intervals": intervals, "population": population}, "loss") == [
        "evaluate: val: precision 0.576 [0.500, 0.750], recall 0.500 [0.250, 0.750]",
        "evaluate: val, re-weighted to the list (1,410 other, 34 nodule): precision 0.017 [0.010, 0.030], "
        "false_positives_per_scan 85.000",
    ]
