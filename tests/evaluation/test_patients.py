"""Slices of brains, judged patient by patient, from files to the report."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scenes import experiment
from sklearn import metrics as sk

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, DataError
from voxray.executors.local import LocalExecutor
from voxray.phantom.brats2020 import write_brats2020
from voxray.stages.outline import plan_run
from voxray.stages.pipeline import run

NET = """[
  {"type": "C", "activation": "relu", "num_output": 4, "kernel_size": [3, 3], "stride": [2, 2]},
  {"type": "P", "pool": "avg", "kernel_size": [4, 4], "stride": [4, 4]},
  {"type": "T", "activation": null}
]"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A run of a few patients of each grade, judged by patient."""
    folder = tmp_path_factory.mktemp("patients")
    write_brats2020(folder / "brains", patients=30, shape=(32, 32, 24))
    (folder / "architecture.json").write_text(NET)
    patches = {
        "sampling": "slices",
        "size": [32, 32],
        "patches_per_scan": 3,
        "oversample_rotations": [],
        "pad_value": 0,
    }
    spec = experiment(
        folder / "brains",
        folder / "run",
        data={"layout": "brats2020"},
        split={"val": 0.3, "test": 0.3},
        patches={**patches, "negatives_per_positive": "all"},
        store={"chunk_bytes": 2**18, "shard_bytes": 2**20},
        intensity={"kind": "zscore_nonzero"},
        evaluation={"level": "patient", "target_recall": 0.8},
    )
    run(spec, LocalExecutor(), lambda line: None)
    return spec


def test_figures_are_those_of_mean_probabilities_of_patients(finished: Experiment) -> None:
    found = json.loads((finished.out_path / "metrics.json").read_text())
    for split, values in found.items():
        rows = pq.read_table(finished.out_path / "predictions" / f"{split}.parquet").to_pylist()
        patients = sorted({row["patient_id"] for row in rows})
        scores = [np.mean([row["probabilities"][1] for row in rows if row["patient_id"] == name]) for name in patients]
        labels = [next(row["label"] for row in rows if row["patient_id"] == name) for name in patients]
        assert len(rows) == 3 * len(patients)
        assert values["level"] == "patient"
        assert values["samples"] == values["patients"] == len(patients)
        assert values["roc_auc"] == pytest.approx(sk.roc_auc_score(labels, scores))
        predicted = np.array(scores) >= values["threshold"]
        assert values["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(labels, predicted))
        assert values["loss"] == pytest.approx(sk.log_loss(labels, scores))
        assert values["confusion_matrix"] == sk.confusion_matrix(labels, predicted).tolist()
    assert found["val"]["recall"] >= 0.8


def test_the_report_says_that_metrics_are_patient_level(finished: Experiment) -> None:
    text = (finished.out_path / "report.html").read_text()
    assert "This page reports patient-level metrics" in text
    assert "9 patients (2 LGG, 7 HGG)" in text
    assert "HGG patients (" in text
    assert "its channels side by side" in text
    assert "3 axial slices per scan, evenly spaced over its mask" in text


def test_another_unit_is_evaluated_anew_and_reported(finished: Experiment) -> None:
    other = finished.model_copy(update={"evaluation": finished.evaluation.model_copy(update={"level": "patch"})})
    said: list[str] = []
    run(other, LocalExecutor(), said.append)
    assert any("train: finished earlier" in line for line in said)
    found = json.loads((finished.out_path / "metrics.json").read_text())
    assert found["val"]["samples"] == 3 * found["val"]["patients"]
    text = (finished.out_path / "report.html").read_text()
    assert "This page reports patch-level metrics: each patch counts once" in text
    run(finished, LocalExecutor(), said.append)
    assert "This page reports patient-level metrics" in (finished.out_path / "report.html").read_text()


def test_patients_with_samples_of_both_classes_cannot_be_judged(luna: Path, out: Path) -> None:
    with pytest.raises(DataError, match=r"evaluation\.level: expected patients of one class each, got 8 with several"):
        plan_run(experiment(luna, out, evaluation={"level": "patient"}))


def test_scans_with_masks_to_learn_have_no_unit(tmp_path: Path, out: Path) -> None:
    from voxray.phantom.decathlon import write_decathlon

    write_decathlon(tmp_path / "brains", cases=4, shape=(24, 24, 24))
    patches = {"size": [16, 16, 16], "oversample_rotations": [], "pad_value": 0}
    spec = experiment(
        tmp_path / "brains", out, data={"layout": "decathlon"}, patches=patches, evaluation={"level": "patient"}
    )
    with pytest.raises(ConfigError, match=r"evaluation\.level: 'patient' is for classifiers, got scans with masks"):
        plan_run(spec)
