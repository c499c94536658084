"""On Ray with everything in object storage."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from s3_server import S3
from scenes import SMALL_NET, experiment, write_toml

from voxray import stages
from voxray.runs.folder import run_folder


def test_a_run_on_ray_with_everything_in_storage_has_the_figures_of_one_without_either(
    s3: S3, luna: Path, tmp_path: Path
) -> None:
    (tmp_path / "architecture.json").write_text(SMALL_NET)
    here = experiment(luna, tmp_path / "here")
    stages.run(here, lambda line: None, with_ray=False)
    model = {"architecture": str(tmp_path / "architecture.json")}
    there = experiment(s3.put_folder(luna), s3.new_folder(), model=model)
    # In a process of its own, whose cluster has the environment that names the server.
    command = [sys.executable, "-c", "from voxray.cli import main; main()", "run"]
    environment = {**os.environ, "RAY_TMPDIR": "/tmp/vru"}
    environment.pop("RAY_ADDRESS", None)
    ended = subprocess.run(
        [*command, str(write_toml(tmp_path / "there.toml", there))],
        env=environment, capture_output=True, encoding="utf-8", check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    found, expected = (json.loads(run_folder(spec).metrics.read_text()) for spec in (there, here))
    for split in ("val", "test"):
        for name in ("recall", "precision", "roc_auc", "loss", "confusion_matrix"):
            # Sums are rounded otherwise where more threads share them.
            assert np.asarray(found[split][name]) == pytest.approx(np.asarray(expected[split][name]), abs=1e-4)
