"""Regions and unlabeled voxels from masks to metrics and label maps."""

import json
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from arranged_folders import write_voxels
from scenes import SMALL_UNET, experiment
from sklearn.metrics import f1_score

from voxray.config.experiment import Experiment
from voxray.config.labels import IGNORED
from voxray.executors.local import LocalExecutor
from voxray.reporting.run.cases import read_case
from voxray.reporting.run.contents import read_run
from voxray.runs.folder import run_folder
from voxray.scans.read import open_scan
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.train import train
from voxray.store.read import open_store

SHAPE = (16, 16, 8)
REGIONS = {"whole": (10, 20, 30), "core": (20, 30)}


def quiet(line: str) -> None:
    """Swallow what a stage says."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A trained run whose masks have the values 0, 10, 20, 30, and 99 in half of the slices; of one scan in all."""
    root = tmp_path_factory.mktemp("regions")
    rng = np.random.default_rng(0)
    rows = ["path,mask,split"]
    for number, split in enumerate(("train", "train", "train", "val", "test", "test")):
        mask = np.zeros(SHAPE, np.int16)
        mask[2:12, 2:12], mask[5:10, 5:10], mask[6:8, 6:8] = 10, 20, 30
        image = (rng.normal(size=SHAPE) + mask / 10).astype(np.float32)
        mask[:, :, ::2] = 99
        if number == 2:
            mask[:] = 99
        write_voxels(root / f"{number}.nii.gz", image)
        write_voxels(root / f"{number}_seg.nii.gz", mask)
        rows.append(f"{number}.nii.gz,{number}_seg.nii.gz,{split}")
    (root / "manifest.csv").write_text("\n".join(rows))
    spec = experiment(
        root,
        root / "run",
        data={"layout": "table", "regions": REGIONS, "ignore_label": 99},
        patches={"size": [16, 16, 8], "sampling": "center", "oversample_rotations": [], "pad_value": 0},
        store={"dtype": "float32"},
        intensity={"kind": "zscore"},
        training={"loss": "dice_cross_entropy", "monitor": "dice", "batch_size": 1, "learning_rate": 0.02, "epochs": 4},
    )
    network = {**SMALL_UNET, "output": {"activation": "sigmoid"}}
    (root / "architecture.json").write_text(json.dumps(network))
    ingest(spec, LocalExecutor(), quiet)
    train(spec, LocalExecutor(), quiet)
    evaluate(spec, LocalExecutor(), quiet)
    return spec


def test_a_store_keeps_which_voxels_are_not_labeled(finished: Experiment) -> None:
    store = open_store(finished.store_path)
    assert store.info.classes == ("background", "whole", "core")
    masks = np.asarray(store.open_masks("test"))[:2]
    assert set(np.unique(masks)) == {0, 1, 2, 3, IGNORED}
    assert (masks[..., ::2] == IGNORED).all()
    assert store.info.provenance["labels"] == {
        "ignore_label": 99,
        "regions": {"whole": [10, 20, 30], "core": [20, 30]},
    }


def test_a_patch_without_labels_has_no_loss_and_the_others_teach(finished: Experiment) -> None:
    history = pq.read_table(run_folder(finished).history).to_pylist()
    assert all(math.isfinite(row["train_loss"]) and math.isfinite(row["val_loss"]) for row in history)
    assert history[-1]["val_dice/whole"] > 0.5


def test_metrics_compare_regions_where_masks_are_labeled(finished: Experiment) -> None:
    folder = run_folder(finished)
    metrics = json.loads(folder.metrics.read_text())["test"]
    expected: dict[str, list[float]] = {name: [] for name in REGIONS}
    for case in pq.read_table(folder.predictions("test")).to_pylist():
        prediction = open_scan(folder.path / case["prediction"]).array[0]
        assert set(np.unique(prediction)) <= {0, 10, 20}
        truth = open_scan(finished.data_path / case["label_path"]).array[0]
        for name, values in REGIONS.items():
            pair = [np.isin(labels, values)[truth != 99] for labels in (truth, prediction)]
            expected[name].append(f1_score(*pair))
    for name, values in expected.items():
        assert metrics[f"dice/{name}"] == pytest.approx(np.mean(values))
    assert metrics["dice"] == pytest.approx(np.mean(list(expected.values())))


def test_pictures_show_what_is_labeled(finished: Experiment) -> None:
    run = read_run(finished.out_path, open_store(finished.store_path))
    for case in run.cases["test"]:
        _, truth, prediction = read_case(run, case)
        assert set(np.unique(truth)) == {0, 1, 2, 3}
        assert not truth[..., ::2].any()
        assert prediction.max() <= 2
