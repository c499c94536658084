import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import wandb
from offline_wandb import all_records, media, read_back
from PIL import Image

from voxray.errors import ConfigError
from voxray.tracking.wandb_run import Picture, Tracker, choose_mode


def tracker_of(folder: Path) -> Tracker:
    config = {"seed": 3, "training": {"epochs": 2}}
    return Tracker(folder, name="small", project="p", run_id="small-1", mode="offline", config=config)


def test_epochs_plots_pictures_and_final_metrics_can_be_read_back_from_the_offline_file(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8], [0.7, 0.3]])
    pictures = [Picture("a nodule", np.zeros((8, 6), np.uint8)), Picture("no nodule", np.ones((8, 6), np.uint8))]
    with tracker_of(tmp_path) as tracker:
        tracker.log_epoch({"epoch": 1, "train_loss": 0.5, "val_recall": 0.25, "val_roc_auc": 0.75})
        tracker.log_epoch({"epoch": 2, "train_loss": 0.4, "val_recall": 0.5, "val_roc_auc": 0.8})
        tracker.log_predictions(np.array([0, 1, 1]), np.array([0, 1, 0]), probabilities, ("other", "nodule"))
        rates = np.array([0.125, 8.0])
        tracker.log_froc("val/froc", {"list": (rates, rates / 10), "whole scans": (rates, rates / 20)})
        tracker.log_pictures("val/patches", pictures, ("other", "nodule"))
        intervals = {"recall": [0.5, 0.9], "roc_auc": None}
        classes = {
            "nodule": {"recall": 0.5, "precision": None, "intervals": {"recall": [0.25, 0.75], "precision": None}}
        }
        metrics = {"recall": 0.7, "confusion_matrix": [[1, 0], [0, 1]], "classes": classes, "macro": {"recall": 0.6}}
        tracker.log_summary({"test": metrics | {"intervals": intervals}})
    history, summary, config = read_back(tmp_path)
    assert history["val/recall"] == [0.25, 0.5]
    assert history["train/loss"] == [0.5, 0.4]
    assert history["val/roc_auc"] == [0.75, 0.8]
    assert history["_step"] == [1, 2, 3]
    assert history["val/patches/captions"] == [["a nodule", "no nodule"]]
    assert {"val/confusion_matrix_table/path", "val/pr_curve_table/path", "val/froc_table/path"} <= set(history)
    froc = json.loads(media(tmp_path, history["val/froc_table/path"][0]).read_text())
    assert [8.0, "whole scans", 0.4] in froc["data"]
    assert summary["final/test/recall"] == 0.7
    assert summary["final/test/interval_low/recall"] == 0.5
    assert summary["final/test/interval_high/recall"] == 0.9
    assert "final/test/interval_low/roc_auc" not in summary
    assert summary["final/test/classes/nodule/recall"] == 0.5
    assert summary["final/test/macro/recall"] == 0.6
    assert "final/test/classes/nodule/precision" not in summary
    assert summary["final/test/classes/nodule/interval_low/recall"] == 0.25
    assert config["seed"] == 3


def test_metrics_of_the_mix_of_the_list_and_of_whole_scans_are_groups_of_their_own(tmp_path: Path) -> None:
    population = {"precision": 0.1, "class_counts": [90, 10], "intervals": {"precision": [0.05, 0.2]}}
    whole = {"proposals": "log", "cpm": 0.6, "intervals": {"cpm": [0.5, 0.7]}}
    with tracker_of(tmp_path) as tracker:
        tracker.log_summary({"test": {"precision": 0.5, "population": population, "whole_scans": whole}})
    _, summary, _ = read_back(tmp_path)
    assert summary["final/test/precision"] == 0.5
    assert summary["final/test/population/precision"] == 0.1
    assert summary["final/test/population/interval_low/precision"] == 0.05
    assert summary["final/test/whole_scans/cpm"] == 0.6
    assert summary["final/test/whole_scans/interval_high/cpm"] == 0.7


def test_dice_of_each_class_is_logged_over_the_epochs(tmp_path: Path) -> None:
    with tracker_of(tmp_path) as tracker:
        for epoch, dice in ((1, 0.25), (2, 0.5)):
            tracker.log_epoch({"epoch": epoch, "val_dice": dice, "val_dice/non-enhancing tumor": dice / 2})
    history, _, _ = read_back(tmp_path)
    assert history["val/dice"] == [0.25, 0.5]
    assert history["val/dice/non-enhancing tumor"] == [0.125, 0.25]


def test_masks_lie_over_their_picture_with_the_names_of_their_classes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (9, 7), dtype=np.uint8)
    masks = {name: rng.integers(0, 3, (9, 7), dtype=np.uint8) for name in ("truth", "prediction")}
    with tracker_of(tmp_path) as tracker:
        tracker.log_pictures("val/cases", [Picture("worst", pixels, masks)], ("background", "edema", "core"))
    history, _, config = read_back(tmp_path)
    np.testing.assert_array_equal(Image.open(media(tmp_path, history["val/cases/filenames"][0][0])), pixels)
    for name, mask in masks.items():
        file = history["val/cases/all_masks"][0][0][name]["path"]
        np.testing.assert_array_equal(Image.open(media(tmp_path, file)), mask)
        labels = config["_wandb"]["mask/class_labels"][f"val/cases_wandb_delimeter_{name}"]
        assert labels["value"] == {"0": "background", "1": "edema", "2": "core"}


def test_an_evaluation_comes_after_the_epochs_even_where_a_run_is_resumed_offline(tmp_path: Path) -> None:
    with tracker_of(tmp_path) as tracker:
        tracker.log_epoch({"epoch": 1, "train_loss": 0.5})
    with tracker_of(tmp_path) as tracker:
        tracker.log_pictures("val/cases", [Picture("a", np.zeros((4, 4), np.uint8))], ("other", "nodule"))
    assert read_back(tmp_path)[0]["_step"] == [1, 3]


def test_the_runs_of_a_search_are_a_group_and_its_table_is_kept(tmp_path: Path) -> None:
    words = {"name": "search_table", "project": "p", "run_id": "s-1", "mode": "offline", "config": {}}
    with Tracker(tmp_path, **words, group="search") as tracker:
        tracker.log_table("trials", ["trial", "value", "norm"], [["0001", 0.9, "batch"], ["0000", None, None]])
    (file,) = (tmp_path / "wandb").glob("offline-run-*/run-*.wandb")
    runs = [record.run for record in all_records(file) if record.WhichOneof("record_type") == "run"]
    assert runs[0].run_group == "search"
    history, _, _ = read_back(tmp_path)
    table = json.loads(media(tmp_path, history["trials/path"][0]).read_text())
    assert table["columns"] == ["trial", "value", "norm"]
    assert table["data"] == [["0001", 0.9, "batch"], ["0000", None, None]]


def test_a_trial_that_is_pruned_ends_its_run_as_one_that_succeeded(tmp_path: Path) -> None:
    for number, (error, code) in enumerate(((SystemExit(0), 0), (SystemExit(1), 1), (ValueError(), 1))):
        folder = tmp_path / str(number)
        with pytest.raises(type(error)), tracker_of(folder):
            raise error
        (file,) = (folder / "wandb").glob("offline-run-*/run-*.wandb")
        exits = [record.exit for record in all_records(file) if record.WhichOneof("record_type") == "exit"]
        assert [record.exit_code for record in exits] == [code]


def test_a_user_who_has_not_logged_in_is_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    assert choose_mode("auto") == "offline"
    with pytest.raises(ConfigError, match="'online' needs a login"):
        choose_mode("online")


@pytest.mark.parametrize(
    ("value", "mode"), [("", "disabled"), ("disabled", "disabled"), ("offline", "offline"), ("dryrun", "offline")]
)
def test_the_environment_chooses_the_mode_where_the_experiment_does_not(
    monkeypatch: pytest.MonkeyPatch, value: str, mode: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", value)
    assert choose_mode("auto") == mode
    monkeypatch.setenv("WANDB_MODE", "of")
    with pytest.raises(ConfigError, match=r"WANDB_MODE: expected online, offline, disabled or nothing, got 'of'"):
        choose_mode("auto")


@pytest.mark.parametrize("point", ["init", "log", "finish", "Table", "Image"])
def test_a_failure_of_tracking_is_one_warning_and_costs_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no\nservice")

    monkeypatch.setattr(wandb if hasattr(wandb, point) and point != "log" else wandb.Run, point, fail)
    if point == "finish":
        monkeypatch.setattr(wandb.Run, point, fail)
    warnings: list[str] = []
    words = {"name": "small", "project": "p", "run_id": "small-1", "mode": "offline"}
    with Tracker(tmp_path, **words, config={"training": {"epochs": 1}}, on_warning=warnings.append) as tracker:
        tracker.log_epoch({"epoch": 1, "train_loss": 0.5})
        tracker.log_table("trials", ["trial"], [["0001"]])
        tracker.log_pictures("val/cases", [Picture("a", np.zeros((4, 4), np.uint8))], ("other", "nodule"))
        tracker.log_summary({"test": {"recall": 0.7}})
    assert warnings == ["W&B is off from here on: RuntimeError: no service"]


def test_without_a_home_a_run_is_tracked_in_its_folder_and_nothing_is_printed(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from voxray.tracking.wandb_run import Tracker
words = {"name": "small", "project": "p", "run_id": "small-1", "mode": "auto"}
with Tracker(Path(sys.argv[1]), **words, config={"training": {"epochs": 1}}) as tracker:
    tracker.log_epoch({"epoch": 1, "train_loss": 0.5})
    tracker.log_table("trials", ["trial"], [["0001"]])
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    environment |= {"HOME": "/dev/null/nowhere", "NETRC": str(tmp_path / "none"), "WANDB_DIR": "/dev/null/elsewhere"}
    process = subprocess.run(
        [sys.executable, "-c", program, tmp_path], env=environment, capture_output=True, encoding="utf-8", check=True
    )
    assert (process.stdout, process.stderr) == ("", "")
    assert read_back(tmp_path)[0]["train/loss"] == [0.5]
