"""Prediction and evaluation of the same scan give the same numbers, however its patches are chosen."""

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pyarrow.parquet as pq
import pytest
from scenes import SMALL_NET, SMALL_UNET, experiment, write_toml
from sklearn.metrics import precision_recall_curve

import voxray
from voxray.api.trained_run import Run
from voxray.cli.app import main
from voxray.config.experiment import Experiment
from voxray.config.training import EvaluationSpec
from voxray.executors.local import LocalExecutor
from voxray.inference.classifier import Prediction
from voxray.inference.ensemble import Segmentation
from voxray.phantom.brats2020 import write_brats2020
from voxray.phantom.decathlon import write_decathlon
from voxray.runs.folder import run_folder
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.train import train

SIZE = [12, 12, 6]
SAMPLINGS: dict[str, dict[str, Any]] = {
    "center": {},
    "whole": {"size": [24, 24, 12]},
    "resized": {},
    "grid": {},
    "random": {"patches_per_scan": 3},
    "slices": {"size": [16, 16, 1], "patches_per_scan": 3, "slices": "middle"},
    "random resampled": {"sampling": "random", "patches_per_scan": 3, "spacing_mm": [1.5, 1.5, 1.5]},
    "slices that not every scan has": {
        "sampling": "slices",
        "size": [16, 16, 1],
        "patches_per_scan": 8,
        "slices": "middle",
    },
}
NET_2D = SMALL_NET.replace("[3, 3, 3]", "[3, 3]").replace("[1, 1, 1]", "[1, 1]").replace("[2, 2, 2]", "[2, 2]")


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chests")
    rng = np.random.default_rng(0)
    lines = ["path,label,patient_id,split"]
    for number in range(14):
        depth = 7 if number == 9 else 9
        voxels = rng.integers(-1000, -600, (20, 21, depth)).astype(np.int16)
        voxels[4:9, 5:10, 3:6] += np.int16(number % 2 * 300)
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1.0, 1.0, 2.0, 1.0])), root / f"s{number}.nii.gz")
        lines.append(f"s{number}.nii.gz,{('well', 'ill')[number % 2]},p{number},{'train' if number < 6 else 'val'}")
    lines[-4:] = [line.replace("val", "test") for line in lines[-4:]]
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")
    return root


@pytest.fixture(scope="module")
def tumors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tumors")
    write_brats2020(root, patients=20, seed=1, shape=(30, 28, 24))
    return root


def finish(spec: Experiment) -> Run:
    """Ingest, train and evaluate an experiment."""
    for stage in (ingest, train, evaluate):
        stage(spec, LocalExecutor(), lambda line: None)
    return voxray.load_run(spec.out, device="cpu")


def voxray_command(*words: object) -> None:
    with pytest.raises(SystemExit) as ended:
        main(list(map(str, words)))
    assert ended.value.code == 0


def rows_of(spec: Experiment, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(run_folder(spec).predictions(split)).to_pylist()
    return rows


def means_of(spec: Experiment, split: str) -> dict[str, Any]:
    """The mean probabilities of each scan's patches."""
    patches: dict[str, list[Any]] = {}
    for row in rows_of(spec, split):
        patches.setdefault(row["path"], []).append(row["probabilities"])
    return {path: np.mean(probabilities, axis=0) for path, probabilities in patches.items()}


@pytest.mark.parametrize("name", list(SAMPLINGS))
def test_a_scan_has_the_mean_of_its_evaluated_patches(chests: Path, out: Path, name: str) -> None:
    patches = {"size": SIZE, "sampling": name, "oversample_rotations": [], **SAMPLINGS[name]}
    (out.parent / "architecture.json").write_text(NET_2D if patches["size"][2] == 1 else SMALL_NET)
    spec = experiment(
        chests,
        out,
        data={"layout": "table", "classes": ["well", "ill"]},
        patches={**patches, "negatives_per_positive": "all"},
        store={"max_quarantined": 0.5},
        training={"epochs": 1, "learning_rate": 0.01, "batch_size": 4},
    )
    finish(spec)
    check_predictions(chests, spec)
    evaluate(
        spec.model_copy(update={"evaluation": EvaluationSpec(level="patient")}), LocalExecutor(), lambda line: None
    )
    check_predictions(chests, spec)


def check_predictions(chests: Path, spec: Experiment) -> None:
    """The classes of the evaluated scans, by Python and by the command line under other names, as strangers' come."""
    run, out = voxray.load_run(spec.out, device="cpu"), Path(spec.out)
    threshold = scan_threshold(spec)
    expected = {**means_of(spec, "val"), **means_of(spec, "test")}
    assert len(expected) == 8
    for path, mean in expected.items():
        prediction = run.predict(voxray.read_scan(chests / path))
        assert isinstance(prediction, Prediction)
        np.testing.assert_allclose(prediction.probabilities, mean, atol=1e-6)
        assert prediction.label == int(prediction.probabilities[1] >= threshold)
    for path in list(expected)[-2:]:
        scan = shutil.copy(chests / path, out.parent / f"x{path}")
        voxray_command("predict", out, scan, "--out", out.parent / "predicted", "--no-ray", "--overwrite")
        written = json.loads((out.parent / "predicted" / f"x{path.removesuffix('.nii.gz')}.json").read_text())
        np.testing.assert_allclose(list(written["probabilities"].values()), expected[path], atol=1e-6)
        assert written["threshold"] == pytest.approx(threshold)
        assert written["prediction"] == ("ill" if expected[path][1] >= threshold else "well")


def scan_threshold(spec: Experiment) -> float:
    """The highest threshold of scans' means that reaches the target recall on validation, by scikit-learn.

    It lies midway between the lowest mean that has to be positive and the next lower one.
    """
    labels = {row["path"]: row["label"] for row in rows_of(spec, "val")}
    means = means_of(spec, "val")
    truth, scores = [labels[path] for path in means], [mean[1] for mean in means.values()]
    _, recall, thresholds = precision_recall_curve(truth, scores)
    reaching = thresholds[recall[:-1] >= spec.evaluation.target_recall].max()
    lower: float = max(thresholds[thresholds < reaching], default=0.0)
    return (float(reaching) + lower) / 2


@pytest.mark.parametrize("name", ["foreground", "slices"])
def test_a_scan_with_a_mask_has_the_mean_of_its_evaluated_patches(tumors: Path, out: Path, name: str) -> None:
    patches = {"size": SIZE, "sampling": name, "oversample_rotations": [], "patches_per_scan": 2}
    if name == "slices":
        patches["size"] = [16, 16, 1]
    (out.parent / "architecture.json").write_text(NET_2D if name == "slices" else SMALL_NET)
    spec = experiment(
        tumors,
        out,
        seed=0,
        data={"layout": "brats2020"},
        split={"val": 0.25, "test": 0.25},
        patches={**patches, "negatives_per_positive": "all", "pad_value": 0},
        intensity={"kind": "zscore_nonzero"},
        training={"epochs": 1, "batch_size": 4},
    )
    run = finish(spec)
    masks = {row["path"]: row["label_path"] for row in rows_of(spec, "test")}
    for path, mean in means_of(spec, "test").items():
        prediction = run.predict(voxray.read_scan(tumors / path), mask=voxray.read_scan(tumors / masks[path]))
        assert isinstance(prediction, Prediction)
        np.testing.assert_allclose(prediction.probabilities, mean, atol=1e-6)


@pytest.mark.parametrize("sampling", ["foreground", "grid", "random"])
def test_a_label_map_is_the_one_that_was_evaluated(tmp_path: Path, sampling: str) -> None:
    write_decathlon(tmp_path / "brains", cases=6, seed=1, shape=(24, 26, 24))
    (tmp_path / "architecture.json").write_text(json.dumps(SMALL_UNET))
    spec = experiment(
        tmp_path / "brains",
        tmp_path / "run",
        data={"layout": "decathlon"},
        patches={"size": [16, 16, 8], "sampling": sampling, "oversample_rotations": [], "pad_value": 0},
        store={"dtype": "float32"},
        intensity={"kind": "zscore_nonzero"},
        training={"loss": "dice", "monitor": "dice", "batch_size": 4, "epochs": 1},
    )
    run = finish(spec)
    for row in rows_of(spec, "test"):
        scan = tmp_path / "brains" / row["path"]
        evaluated = voxray.read_scan(tmp_path / "run" / row["prediction"])
        segmentation = run.predict(voxray.read_scan(scan))
        assert isinstance(segmentation, Segmentation)
        np.testing.assert_array_equal(segmentation.labels.array, evaluated.array)
        voxray_command("predict", spec.out, scan, "--out", tmp_path / "out", "--no-ray")
        (written,) = (tmp_path / "out").glob(f"{scan.name.split('.')[0]}_seg.nii.gz")
        np.testing.assert_array_equal(voxray.read_scan(written).array, evaluated.array)


def test_the_command_line_averages_the_folds_of_a_cross_validation(chests: Path, out: Path) -> None:
    (out.parent / "architecture.json").write_text(SMALL_NET)
    (chests / "unsplit.csv").write_text(
        "\n".join(line.rpartition(",")[0] for line in (chests / "manifest.csv").read_text().splitlines())
    )
    spec = experiment(
        chests,
        out,
        data={"layout": "table", "classes": ["well", "ill"], "manifest": "unsplit.csv"},
        split={"folds": 2, "val": 0.4},
        patches={"size": SIZE, "sampling": "grid", "oversample_rotations": [], "negatives_per_positive": "all"},
        training={"epochs": 1, "learning_rate": 0.01, "batch_size": 4},
    )
    voxray_command("run", write_toml(out.parent / "experiment.toml", spec), "--no-ray")
    run, scan = voxray.load_run(out, device="cpu"), chests / "s1.nii.gz"
    voxray_command("predict", out, scan, "--out", out.parent / "predicted", "--no-ray")
    written = json.loads((out.parent / "predicted" / "s1.json").read_text())
    volume = voxray.read_scan(scan)
    parts = [fold.predict(volume) for fold in run.folds]
    mean = np.mean([part.probabilities for part in parts if isinstance(part, Prediction)], axis=0)
    np.testing.assert_allclose(list(written["probabilities"].values()), mean, atol=1e-6)
    thresholds = [fold.trained[0].scan_threshold for fold in run.folds]
    assert written["threshold"] == pytest.approx(np.mean(np.array(thresholds, float)))
