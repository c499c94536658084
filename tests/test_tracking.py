import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from wandb.proto import wandb_internal_pb2

from voxray.tracking import Tracker, choose_mode
from voxray.training.step import Predictions

BLOCK, RECORD_HEADER, FILE_HEADER = 32768, 7, 7


def records(file: Path) -> Iterator[wandb_internal_pb2.Record]:
    """The records of a W&B transaction log: LevelDB's log format behind a file header of seven bytes."""
    data, position, pieces = file.read_bytes(), FILE_HEADER, b""
    assert data[:4] == b":W&B"
    while position + RECORD_HEADER <= len(data):
        left = BLOCK - position % BLOCK
        if left < RECORD_HEADER:
            position += left
            continue
        _, length, kind = struct.unpack("<IHB", data[position : position + RECORD_HEADER])
        position += RECORD_HEADER
        pieces += data[position : position + length]
        position += length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(pieces)
            pieces = b""
            yield record


def read_back(folder: Path) -> tuple[dict[str, list[Any]], dict[str, Any], dict[str, Any]]:
    """History, summary and config of W&B's own offline file."""
    (file,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
    history: dict[str, list[Any]] = {}
    summary: dict[str, Any] = {}
    config: dict[str, Any] = {}
    for record in records(file):
        for item in record.history.item:
            key = item.key or "/".join(item.nested_key)
            history.setdefault(key, []).append(json.loads(item.value_json))
        for item in record.summary.update:
            summary[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
        for item in record.run.config.update:
            config[item.key or "/".join(item.nested_key)] = json.loads(item.value_json)
    return history, summary, config


def test_epochs_plots_pictures_and_final_figures_can_be_read_back_from_the_offline_file(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    predictions = Predictions(np.arange(3), np.array([0, 1, 1]), probabilities, 0.4)
    arguments = {"name": "small", "project": "p", "run_id": "small-1", "mode": "offline", "config": {"seed": 3}}
    with Tracker(tmp_path, **arguments) as tracker:  # type: ignore[arg-type]
        tracker.log_epoch({"epoch": 1, "train_loss": 0.5, "val_recall": 0.25, "val_roc_auc": 0.75})
        tracker.log_epoch({"epoch": 2, "train_loss": 0.4, "val_recall": 0.5, "val_roc_auc": 0.8})
        tracker.log_validation(predictions, ("other", "nodule"), np.zeros((2, 8, 8), np.float32), np.array([2, 0]))
        tracker.log_summary({"test": {"recall": 0.7, "confusion_matrix": [[1, 0], [0, 1]]}})
    history, summary, config = read_back(tmp_path)
    assert history["val/recall"] == [0.25, 0.5]
    assert history["train/loss"] == [0.5, 0.4]
    assert history["val/roc_auc"] == [0.75, 0.8]
    (captions,) = history["val/patches/captions"]
    assert captions == ["truth nodule, called other (70%)", "truth other, called other (90%)"]
    assert {"val/confusion_matrix_table/path", "val/pr_curve_table/path"} <= set(history)
    assert summary["final/test/recall"] == 0.7
    assert config["seed"] == 3


def test_a_user_who_has_not_logged_in_is_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert choose_mode("auto") == "offline"
    assert choose_mode("online") == "online"
