"""Synthetic runs: small stores with random voxels, and known predictions."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zarr

from voxray.config.experiment import Experiment
from voxray.datasets.manifest import QUARANTINE
from voxray.metrics.class_table import class_table
from voxray.metrics.classification import Samples, predict_labels
from voxray.metrics.compute import compute_metrics, without_nan
from voxray.metrics.curves import Ranking, choose_threshold
from voxray.metrics.intervals import sample_intervals
from voxray.models.spec.load import parse_architecture
from voxray.reporting.run.contents import RunContents, SplitPredictions
from voxray.store.layout import INDEX, INDEX_FILE, QUARANTINE_FILE, StoreInfo
from voxray.store.metadata import write_metadata
from voxray.store.read import PatchStore

MakeRun = Callable[..., RunContents]

COUNTS = {"train": 24, "val": 24, "test": 16}
ARCHITECTURE = [
    {
        "type": "C",
        "activation": "relu",
        "num_output": 4,
        "kernel_size": [3, 3, 3],
        "stride": [1, 1, 1],
        "drop_out": 10,
    },
    {"type": "P", "pool": "max", "kernel_size": [2, 2, 2], "stride": [2, 2, 2]},
    {"type": "T", "activation": None},
]


@pytest.fixture(scope="session")
def make_run(tmp_path_factory: pytest.TempPathFactory) -> MakeRun:
    """Builds a finished run: ``make_run(classes=…, splits=…, size=…, suffix=…)``."""

    def build(
        classes: tuple[str, ...] = ("other", "nodule"),
        splits: tuple[str, ...] = ("train", "val", "test"),
        size: tuple[int, int, int] = (8, 8, 4),
        suffix: str = ".mhd",
        quarantine: list[dict[str, Any]] | None = None,
        only_label: int | None = None,
    ) -> RunContents:
        folder = tmp_path_factory.mktemp("secret_place")
        store = _make_store(folder / "store", classes, splits, size, suffix, quarantine or [], only_label)
        evaluated = [split for split in splits if split != "train"]
        predictions = {split: _predict(store, split) for split in evaluated}
        experiment = _make_experiment(folder, size)
        layers = parse_architecture(ARCHITECTURE, "architecture.json")
        metrics = _measure(predictions, classes)
        return RunContents(experiment, layers, metrics, _history(), predictions, store, {"voxray": "0.1.0"})

    return build


@pytest.fixture
def write_run() -> Callable[[RunContents, Path], Path]:
    """Writes the files that a run leaves in its folder, and returns the folder."""

    def write(run: RunContents, folder: Path) -> Path:
        (folder / "predictions").mkdir(parents=True)
        (folder / "experiment.json").write_text(json.dumps(run.experiment.model_dump(mode="json")))
        (folder / "architecture.json").write_text(json.dumps(ARCHITECTURE))
        (folder / "metrics.json").write_text(json.dumps(run.metrics))
        pq.write_table(pa.Table.from_pylist(run.history), folder / "history.parquet")
        for split, predictions in run.predictions.items():
            column = pa.array(predictions.probabilities.tolist(), pa.list_(pa.float64()))
            table = predictions.rows.append_column("probabilities", column)
            pq.write_table(table, folder / "predictions" / f"{split}.parquet")
        return folder

    return write


def _make_experiment(folder: Path, size: tuple[int, int, int]) -> Experiment:
    return Experiment.model_validate(
        {
            "name": "synthetic",
            "seed": 7,
            "out": str(folder / "run"),
            "data": {"layout": "luna16", "root": str(folder / "scans")},
            "patches": {"size": list(size), "negatives_per_positive": 2.0},
            "model": {"architecture": str(folder / "tiny.json")},
            "training": {"epochs": 3, "learning_rate": 1e-5},
        }
    )


def _make_store(
    path: Path,
    classes: tuple[str, ...],
    splits: tuple[str, ...],
    size: tuple[int, int, int],
    suffix: str,
    quarantine: list[dict[str, Any]],
    only_label: int | None,
) -> PatchStore:
    info = StoreInfo(
        classes=classes,
        task="classification",
        size=size,
        channels=1,
        dtype="int16",
        patches_per_chunk=8,
        patches_per_shard=32,
        shards=dict.fromkeys(splits, 1),
        scans=sum(COUNTS[split] for split in splits) // 2,
        digest="0123456789abcdef",
        provenance={"manifest": "fedcba9876543210"},
        notes=("each series counts as one patient",),
    )
    write_metadata(path, info)
    rng = np.random.default_rng(0)
    rows = []
    for split in splits:
        array = zarr.open_array(str(path / split / "image"), mode="r+", zarr_format=3)
        array[: COUNTS[split]] = rng.integers(-1000, 400, (COUNTS[split], 1, *size)).astype("int16")
        for slot in range(COUNTS[split]):
            label = slot % len(classes) if only_label is None or split != "test" else only_label
            for rotation in (0, 90, 180, 270) if split == "train" and label else (0,):
                rows.append(_index_row(split, slot, rotation, label, suffix))
    index = pa.Table.from_pylist(rows, schema=INDEX)
    excluded = pa.Table.from_pylist(quarantine, schema=QUARANTINE)
    pq.write_table(index, path / INDEX_FILE)
    pq.write_table(excluded, path / QUARANTINE_FILE)
    return PatchStore(path, info, index, excluded)


def _index_row(split: str, slot: int, rotation: int, label: int, suffix: str) -> dict[str, Any]:
    scan = f"1.2.840.113619.2.55.{split}.{slot // 2:04d}"
    row: dict[str, Any] = dict.fromkeys(INDEX.names, 0)
    names = {
        "scan_id": scan,
        "patient_id": scan,
        "path": f"subset0/{scan}{suffix}",
        "checksum": "",
        "scan_checksum": "",
        "label_path": None,
        "statistics": None,
    }
    point = {"x_mm": -12.25, "y_mm": 30.5, "z_mm": -100.0 + slot}
    return row | names | point | {"split": split, "slot": slot, "rotation": rotation, "label": label}


def _predict(store: PatchStore, split: str) -> SplitPredictions:
    rows = store.rows(split)
    labels = rows["label"].to_numpy()
    rng = np.random.default_rng([len(split), len(labels)])
    logits = rng.normal(size=(len(labels), len(store.info.classes)))
    logits[np.arange(len(labels)), labels] += 0.8
    return SplitPredictions(rows, np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))


def _measure(predictions: dict[str, SplitPredictions], classes: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    val = predictions["val"]
    two = val.probabilities.shape[1] == 2
    threshold = choose_threshold(Ranking(val.labels, val.probabilities[:, 1]), 0.9) if two else None
    metrics = {}
    for split, split_predictions in predictions.items():
        patients = np.asarray(split_predictions.rows["patient_id"].to_pylist(), dtype=str)
        inputs = (split_predictions.labels, split_predictions.probabilities)
        samples = Samples(*inputs, predict_labels(inputs[1], threshold))
        metrics[split] = {
            "level": "patch",
            **compute_metrics(*inputs, threshold),
            **class_table(samples, classes, patients),
            "loss": -float(np.log(split_predictions.truth_probabilities()).mean()),
            "threshold": threshold,
            "patients": len(np.unique(patients)),
            "intervals": sample_intervals(samples, patients),
        }
    return without_nan(metrics)


def _history() -> list[dict[str, Any]]:
    row = {
        "learning_rate": 1e-5,
        "val_precision": float("nan"),
        "val_recall": 0.5,
        "val_roc_auc": 0.6,
        "val_accuracy": 0.5,
    }
    cost = {"seconds": 60.0, "data_wait_share": 0.25, "patches_per_s": 100.0}
    losses = [(0.7, 0.6), (0.5, 0.4), (0.3, 0.8)]
    return [
        {"epoch": number, "train_loss": train, "train_accuracy": 1 - train, "val_loss": val, **row, **cost}
        for number, (train, val) in enumerate(losses, 1)
    ]
