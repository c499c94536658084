"""Runs in the copy of the package that has all examples of CONTRIBUTING.md."""

import json
from pathlib import Path

import numpy as np

import voxray
from voxray.config.experiment import Experiment

ARCHITECTURE = [
    {"type": "PW", "num_output": 4, "activation": "relu"},
    {"type": "G"},
    {"type": "T", "activation": None},
]


def test_a_network_is_trained_with_all_of_them(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for number in range(24):
        name = "dark" if number % 2 else "bright"
        (tmp_path / "scans" / name).mkdir(parents=True, exist_ok=True)
        noise = rng.integers(0, 50, (8, 8, 4)) + (0 if name == "dark" else 100)
        np.save(tmp_path / "scans" / name / f"{number}.npy", noise.astype(np.int16))
    (tmp_path / "architecture.json").write_text(json.dumps(ARCHITECTURE))
    content = {
        "name": "together",
        "out": str(tmp_path / "run"),
        "data": {"layout": "class_folders", "root": str(tmp_path / "scans"), "classes": ["dark", "bright"]},
        "split": {"val": 0.25, "test": 0.25},
        "patches": {"size": [8, 8, 4], "sampling": "whole", "oversample_rotations": [], "pad_value": 0},
        "intensity": {"window": [0, 150]},
        "model": {"architecture": str(tmp_path / "architecture.json")},
        "training": {"epochs": 12, "batch_size": 4, "learning_rate": 0.1, "loss": "smoothed", "monitor": "matthews"},
        "tracking": {"mode": "disabled"},
    }
    run = voxray.run(Experiment.model_validate(content), executor="local")
    assert 0.5 < run.metrics["test"]["matthews"] <= 1
    assert "matthews" in run.metrics["test"]["intervals"]
    assert run.predict(voxray.read_scan(tmp_path / "scans" / "bright" / "0.npy")).label == 1
    report = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "Matthews correlation" in report
    assert "pointwise convolution" in report
