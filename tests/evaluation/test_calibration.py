"""Calibration of a classifier, from the training to the predictions that leave."""

import json
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from scenes import SMALL_NET, experiment
from sklearn import metrics as sk

import voxray
from voxray.config.experiment import Experiment
from voxray.errors import ScanError, WorkError
from voxray.evaluation.calibration import training_offsets
from voxray.evaluation.patches import write_patch_metrics
from voxray.executors.local import LocalExecutor
from voxray.inference.classifier import Prediction
from voxray.runs.folder import run_folder
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.pipeline import run
from voxray.stages.train import train
from voxray.store.read import open_store
from voxray.training.losses.base import class_weights

CLASSES = ["well", "mild", "ill"]


def write_scans(root: Path, classes: int, count: int = 72) -> None:
    """Scans whose brightness says little about their class."""
    rng = np.random.default_rng(0)
    lines = ["path,label,patient_id,split"]
    for number in range(count):
        label = 0 if number % 3 == 0 else number % classes
        voxels = rng.integers(-1000, 0, (12, 12, 6)).astype(np.int16)
        voxels[3:9, 3:9, 2:5] += np.int16(rng.normal(400 * label, 200))
        name = f"s{number}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1.0, 1.0, 2.0, 1.0])), root / name)
        split = ("train", "val", "test")[number * 3 // count]
        lines.append(f"{name},{CLASSES[label]},p{number},{split}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


def calibrated_experiment(folder: Path, classes: int, **changes: Any) -> Experiment:
    write_scans(folder, classes)
    (folder / "architecture.json").write_text(SMALL_NET)
    return experiment(
        folder,
        folder / "run",
        data={"layout": "table", "classes": CLASSES[:classes]},
        patches={"size": [12, 12, 6], "sampling": "resized", "negatives_per_positive": "all"},
        training={"epochs": 3, "learning_rate": 0.01, "batch_size": 8, "class_weights": "balanced"},
        **changes,
    )


@pytest.fixture(scope="module", params=[2, 3])
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    spec = calibrated_experiment(tmp_path_factory.mktemp("calibration"), request.param)
    run(spec, LocalExecutor(), lambda line: None)
    return spec


def uncalibrated(spec: Experiment) -> Experiment:
    return spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"calibrate": False})})


def metrics_of(spec: Experiment) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(run_folder(spec).metrics.read_text())
    return content


def predictions_of(spec: Experiment, split: str) -> tuple[np.ndarray, np.ndarray]:
    table = pq.read_table(run_folder(spec).predictions(split))
    return table["label"].to_numpy(), np.array(table["probabilities"].to_pylist())


def test_oversampling_and_class_weights_are_undone(finished: Experiment) -> None:
    store = open_store(finished.store_path)
    labels = store.rows("train")["label"].to_numpy()
    counts = np.bincount(labels)
    originals = np.bincount(labels[store.rows("train")["rotation"].to_numpy() == 0])
    assert (counts[1:] == 4 * originals[1:]).all()
    # Balanced weights make all classes count the same.
    counted = counts.sum() / len(counts)
    expected = np.log(originals / counted)
    found = training_offsets(finished, store)
    np.testing.assert_allclose(found, expected - expected[0], rtol=1e-6)
    weights = class_weights("balanced", torch.from_numpy(counts))
    assert weights is not None
    plain = finished.model_copy(update={"training": finished.training.model_copy(update={"class_weights": "none"})})
    np.testing.assert_allclose(training_offsets(plain, store), [0.0] + [-math.log(4)] * (len(counts) - 1))


def test_dropped_negatives_are_undone(luna: Path, out: Path) -> None:
    (out.parent / "architecture.json").write_text(SMALL_NET)
    spec = experiment(luna, out, patches={"negatives_per_positive": 3})
    ingest(spec, LocalExecutor(), lambda line: None)
    store = open_store(spec.store_path)
    negatives, positives = np.bincount(store.rows("train")["label"].to_numpy())
    listed = (luna / "candidates.csv").read_text().splitlines()[1:]
    odds = sum(line.endswith(",1") for line in listed) / sum(line.endswith(",0") for line in listed)
    # Each scan has the same numbers of both, so the odds of training are those of the whole list.
    assert positives / negatives == pytest.approx(4 / 3)
    np.testing.assert_allclose(training_offsets(spec, store), [0.0, math.log(odds) - math.log(4 / 3)])


def test_what_leaves_is_calibrated_and_only_the_scale_changes(finished: Experiment, tmp_path: Path) -> None:
    metrics, files = metrics_of(finished), run_folder(finished)
    record = metrics["val"]["calibration"]
    assert 0.05 < record["temperature"] < 20
    assert record["temperature"] != 1
    assert record["note"] == ""
    saved = {split: predictions_of(finished, split) for split in ("val", "test")}
    report = files.report.read_text()
    assert f"divided by the temperature {record['temperature']:.3f}, fitted on the validation patches" in report
    assert "before calibration" in report
    trained = voxray.load_run(finished.out, device="cpu")
    for path in ("s30.nii.gz", "s60.nii.gz"):
        prediction = trained.predict(voxray.read_scan(Path(finished.data.root) / path))
        assert isinstance(prediction, Prediction)
        table = pq.read_table(files.predictions("val" if path == "s30.nii.gz" else "test")).to_pylist()
        (expected,) = [row["probabilities"] for row in table if row["path"] == path]
        np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-6)
    try:
        said: list[str] = []
        plain = uncalibrated(finished)
        run(plain, LocalExecutor(), said.append)
        assert any("train: finished earlier" in line for line in said)
        for split, (labels, after) in saved.items():
            _, before = predictions_of(plain, split)
            logits = np.log(before) / record["temperature"] + record["offsets"]
            expected_after = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
            np.testing.assert_allclose(after, expected_after, atol=1e-9)
            raw, own = metrics_of(plain)[split], metrics[split]
            assert "calibration" not in raw
            assert own["calibration"]["uncalibrated_ece"] == pytest.approx(raw["ece"])
            assert own["calibration"]["uncalibrated_interval"] == pytest.approx(raw["intervals"]["ece"])
            assert own["loss"] == pytest.approx(sk.log_loss(labels, after))
            if after.shape[1] == 2:
                for name in ("roc_auc", "average_precision", "recall", "precision"):
                    assert own[name] == pytest.approx(raw[name], abs=1e-12)
        shifted = np.log(predictions_of(plain, "val")[1])
        labels = saved["val"][0]
        losses = [_loss(labels, shifted / number + record["offsets"]) for number in np.geomspace(0.06, 19, 200)]
        assert metrics["val"]["loss"] <= min(losses) + 1e-9
        assert "not calibrated (evaluation.calibrate = false)" in files.report.read_text()
    finally:
        run(finished, LocalExecutor(), lambda line: None)
    assert metrics_of(finished) == metrics


def _loss(labels: np.ndarray, logits: np.ndarray) -> float:
    probabilities = np.exp(logits - logits.max(axis=1, keepdims=True))
    return float(sk.log_loss(labels, probabilities / probabilities.sum(axis=1, keepdims=True)))


def test_folds_are_calibrated_one_by_one(tmp_path: Path) -> None:
    spec = calibrated_experiment(tmp_path, 2, split={"folds": 2, "val": 0.4})
    listed = (tmp_path / "manifest.csv").read_text().splitlines()
    (tmp_path / "manifest.csv").write_text("\n".join(line.rpartition(",")[0] for line in listed) + "\n")
    run(spec, LocalExecutor(), lambda line: None)
    joined = metrics_of(spec)["test"]
    own = [json.loads((spec.out_path / f"fold_{fold}" / "metrics.json").read_text())["test"] for fold in range(2)]
    assert joined["calibration"]["temperatures"] == [metrics["calibration"]["temperature"] for metrics in own]
    assert joined["folds"]["ece"] == [metrics["ece"] for metrics in own]
    assert "Each fold is calibrated on its validation split" in (spec.out_path / "report.html").read_text()
    trained = voxray.load_run(spec.out, device="cpu")
    assert [one.calibration.temperature for one in trained.trained] == joined["calibration"]["temperatures"]
    # Without calibration the joined error is the one that is recorded as that before.
    run(uncalibrated(spec), LocalExecutor(), lambda line: None)
    assert metrics_of(spec)["test"]["ece"] == pytest.approx(joined["calibration"]["uncalibrated_ece"])


def test_output_that_is_not_a_number_is_an_error(finished: Experiment) -> None:
    store = open_store(finished.store_path)
    count = store.rows("val").num_rows
    logits = np.zeros((count, len(store.info.classes)))
    logits[3] = np.nan
    content = run_folder(finished).metrics.read_bytes()
    with pytest.raises(WorkError, match=rf"gives no probability \(NaN\) to 1 of {count} patches"):
        write_patch_metrics(finished, {"val": [(np.arange(count), logits)]})
    assert run_folder(finished).metrics.read_bytes() == content
    trained = voxray.load_run(finished.out, device="cpu")
    with torch.no_grad():
        next(trained.model.parameters()).fill_(math.nan)
    with pytest.raises(ScanError, match="the network gives it no probability"):
        trained.predict(voxray.read_scan(Path(finished.data.root) / "s0.nii.gz"))


def test_the_terminal_says_why_a_temperature_is_not_fitted(tmp_path: Path) -> None:
    spec = calibrated_experiment(tmp_path, 2)
    lines = (tmp_path / "manifest.csv").read_text().splitlines()
    kept = [line for number, line in enumerate(lines) if not line.endswith("val") or number < 30]
    (tmp_path / "manifest.csv").write_text("\n".join(kept) + "\n")
    said: list[str] = []
    for stage in (ingest, train, evaluate):
        stage(spec, LocalExecutor(), said.append)
    note = (
        "note: the temperature of the calibration is 1: validation has 5 samples, fewer than the 10 that determine one"
    )
    assert note in said
    record = metrics_of(spec)["val"]["calibration"]
    assert record["temperature"] == 1
    assert note.endswith(record["note"])
