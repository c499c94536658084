"""The media of an evaluated run at W&B, read back from its offline files."""

import json
from pathlib import Path

import nibabel
import numpy as np
import pyarrow.parquet as pq
from offline_wandb import media, read_back
from PIL import Image
from reporting.scan_runs import make_scan_run
from scenes import experiment

from voxray.executors.local import LocalExecutor
from voxray.privacy import pseudonym
from voxray.reporting.run.wandb_media import log_evaluation
from voxray.runs.folder import RunFolder
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.train import train
from voxray.tracking.wandb_run import Tracker

CLASSES = ("other", "nodule")


def quiet(line: str) -> None:
    """Discard the status lines of a stage."""


def displayed_slice(path: Path, z: int) -> np.ndarray:
    """An axial slice of a file in the radiologist's view: the patient's right at the left, the front up."""
    image = nibabel.as_closest_canonical(nibabel.load(path))
    return np.asarray(image.dataobj)[::-1, ::-1, z].T


def test_best_median_and_worst_scan_are_logged_with_truth_and_prediction_over_them(tmp_path: Path) -> None:
    run = make_scan_run(tmp_path, {"train": (0,), "val": (2, 0, 4, 1)})
    config = run.experiment.model_dump(mode="json")
    with Tracker(tmp_path, name="a", project="p", run_id="a", mode="offline", config=config) as tracker:
        log_evaluation(tracker, run)
    history, summary, logged = read_back(tmp_path)
    (captions,) = history["val/cases/captions"]
    key = RunFolder(run.folder).pseudonym_key()
    assert [caption.split(",")[0] for caption in captions] == [
        f"{title} case: {pseudonym(key, 'scan', name)}"
        for title, name in (("Best", "val_1"), ("Median", "val_0"), ("Worst", "val_2"))
    ]
    worst = history["val/cases/all_masks"][0][2]
    z = 5  # the middle of the blocks, which lie at 3 to 8
    root, folder = Path(run.experiment.data.root), run.folder
    for name, file in (
        ("truth", root / "labelsTr" / "val_2.nii.gz"),
        ("prediction", folder / "predictions" / "val" / "val_2_seg.nii.gz"),
    ):
        np.testing.assert_array_equal(Image.open(media(tmp_path, worst[name]["path"])), displayed_slice(file, z))
        labels = logged["_wandb"]["mask/class_labels"][f"val/cases_wandb_delimeter_{name}"]["value"]
        assert list(labels.values()) == ["background", "head", "tail"]
    gray = np.asarray(Image.open(media(tmp_path, history["val/cases/filenames"][0][2])))
    scan = displayed_slice(root / "imagesTr" / "val_2.nii.gz", z)
    assert np.corrcoef(gray.ravel(), np.clip(scan, *np.percentile(scan, [0.5, 99.5])).ravel())[0, 1] > 0.99
    assert summary["final/val/dice"] == run.metrics["val"]["dice"]


def test_the_plots_of_a_classifier_are_those_of_the_best_weights(luna: Path, out: Path) -> None:
    training = {"epochs": 5, "learning_rate": 0.01, "monitor": "loss"}
    spec = experiment(luna, out, tracking={"mode": "offline"}, training=training)
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    losses = pq.read_table(out / "history.parquet")["val_loss"].to_pylist()
    assert losses.index(min(losses)) + 1 < len(losses), "choose a rate at which the best epoch is not the last"
    evaluate(spec, LocalExecutor(), quiet)
    metrics = json.loads((out / "metrics.json").read_text())["val"]
    history, summary, _ = read_back(out)
    assert history["val/loss"] == losses
    table = json.loads(media(out, history["val/confusion_matrix_table/path"][0]).read_text())
    counts = {(truth, predicted): count for truth, predicted, count in table["data"]}
    assert [[counts[truth, predicted] for predicted in CLASSES] for truth in CLASSES] == metrics["confusion_matrix"]
    predictions = pq.read_table(out / "predictions" / "val.parquet").to_pylist()
    worst_patch = min(predictions, key=lambda row: row["probabilities"][row["label"]])
    assert history["val/patches/captions"][0][0].startswith(f"true {CLASSES[worst_patch['label']]}")
    assert summary["final/val/loss"] == metrics["loss"]
