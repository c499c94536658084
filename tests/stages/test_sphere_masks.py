"""A segmentation of the nodules of a LUNA16 folder, whose masks are spheres of a list and no files."""

import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from scenes import SMALL_UNET, experiment, write_annotations, write_luna

from voxray.config.experiment import Experiment
from voxray.datasets.pseudonyms import files_of
from voxray.errors import StoreError
from voxray.executors.local import LocalExecutor
from voxray.inspection.scan_stats import inspect_scans
from voxray.inspection.target import read_experiment_target
from voxray.scans.read import open_scan
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.train import train
from voxray.store.read import open_store


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def spec_of(root: Path, folder: Path, **changes: object) -> Experiment:
    (folder / "architecture.json").write_text(json.dumps(SMALL_UNET))
    sections: dict[str, object] = {
        "data": {"masks": "annotations"},
        "patches": {
            "size": [16, 16, 12],
            "sampling": "foreground",
            "patches_per_scan": 2,
            "min_foreground": 0,
            "oversample_rotations": [],
        },
        "training": {"loss": "dice_cross_entropy", "monitor": "loss", "batch_size": 4, "epochs": 1},
    }
    return experiment(root, folder / "run", **{**sections, **changes})


@pytest.fixture(scope="module")
def chests(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chests")
    write_luna(root, 8, positives=1, negatives=1)
    write_annotations(root, diameter_mm=7.0)
    return root


@pytest.fixture(scope="module")
def finished(chests: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    spec = spec_of(chests, tmp_path_factory.mktemp("segmentation"))
    ingest(spec, LocalExecutor(), quiet, verify=True)
    train(spec, LocalExecutor(), quiet)
    evaluate(spec, LocalExecutor(), quiet)
    return spec


def test_the_masks_of_the_patches_are_the_painted_spheres(finished: Experiment, chests: Path) -> None:
    store = open_store(finished.store_path)
    assert store.info.task == "segmentation"
    assert store.info.classes == ("background", "nodule")
    for row in store.rows("train").to_pylist():
        box = tuple(
            slice(row[f"{axis}_start"], row[f"{axis}_start"] + n) for axis, n in zip("xyz", (16, 16, 12), strict=True)
        )
        mask = np.asarray(store.open_masks("train")[row["slot"]])
        np.testing.assert_array_equal(mask, open_scan(chests / row["label_path"]).array[(0, *box)])
        assert mask.any()


def test_whole_scans_are_compared_with_the_spheres(finished: Experiment) -> None:
    metrics = json.loads((finished.out_path / "metrics.json").read_text())
    assert metrics["test"]["scans"] == 2
    cases = pq.read_table(finished.out_path / "predictions" / "test.parquet").to_pylist()
    assert all(0 <= case["dice/nodule"] <= 1 for case in cases)
    assert all(case["label_path"] == f"annotations.csv/{case['path']}/spheres" for case in cases)


def test_inspection_counts_the_voxels_of_the_spheres(finished: Experiment, chests: Path) -> None:
    target = read_experiment_target(finished)
    rows = inspect_scans(chests, target.targets, target.labels, voxels=True).to_pylist()
    painted = [open_scan(chests / row["label_path"]).array for row in rows]
    assert [row["mask_voxels"][1] for row in rows] == [int(mask.sum()) for mask in painted]
    assert not [issue for row in rows for issue in row["issues"]]


def test_another_list_is_another_data_set(finished: Experiment, chests: Path) -> None:
    file = chests / "annotations.csv"
    before = file.read_text()
    ingest(finished, LocalExecutor(), quiet)
    file.write_text(before.replace(",7.0", ",8.0", 1))
    for stage in (ingest, evaluate):
        with pytest.raises(StoreError):
            stage(finished, LocalExecutor(), quiet)
    file.write_text(before)
    ingest(finished, LocalExecutor(), quiet)
    evaluate(finished, LocalExecutor(), quiet)


def test_pseudonyms_hide_which_scan_a_mask_is_of(chests: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "k" * 40)
    spec = spec_of(chests, tmp_path, privacy={"key_env": "SECRET"})
    ingest(spec, LocalExecutor(), quiet)
    index = open_store(spec.store_path).index
    assert not any("1.3.6.1" in str(row) for row in index.to_pylist())
    assert index["label_path"].to_pylist() == index["scan_id"].to_pylist()
    masks = [mask for _, mask in files_of(spec, index.to_pylist())]
    assert all(mask is not None and open_scan(mask).array.any() for mask in masks)
