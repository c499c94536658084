"""Runs whose scans, store and folder lie in object storage."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from s3_server import KEYS, S3
from scenes import SMALL_NET, experiment, write_toml

from voxray.cli.app import main
from voxray.config.experiment import Experiment
from voxray.errors import WorkError
from voxray.executors.local import LocalExecutor
from voxray.runs.folder import run_folder
from voxray.runs.status import status_lines
from voxray.stages.pipeline import run as run_stage
from voxray.training.fit import fit


@pytest.fixture(scope="module")
def here(luna: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """An experiment that has run on a disk, undisturbed."""
    folder = tmp_path_factory.mktemp("here")
    (folder / "architecture.json").write_text(SMALL_NET)
    spec = experiment(luna, folder / "run")
    run(spec)
    return spec


@pytest.fixture
def remote(s3: S3, here: Experiment) -> Experiment:
    """The same, with its folder alone in storage."""
    out = s3.new_folder()
    (out.parent / "architecture.json").write_text(SMALL_NET)
    return experiment(here.data_path, out, store={"path": str(here.store_path)})


def metrics_of(spec: Experiment) -> Any:
    return json.loads(run_folder(spec).metrics.read_text())


def run(spec: Experiment) -> list[str]:
    statuses: list[str] = []
    run_stage(spec, LocalExecutor(), statuses.append)
    return statuses


def test_a_run_in_storage_ends_like_one_on_the_disk(s3: S3, here: Experiment, remote: Experiment, luna: Path) -> None:
    spec = experiment(s3.put_folder(luna), remote.out_path)
    run(spec)
    assert metrics_of(spec) == metrics_of(here)
    files = {str(file.relative_to(here.out_path)) for file in Path(here.out).rglob("*") if file.is_file()}
    assert set(s3.contents(spec.out_path)) == files - {".store.lock"}
    stages_told = [line.split(":")[0] for line in status_lines(spec.out_path, 0)]
    assert stages_told == ["ingest", "train", "evaluate", "report"]
    assert any("finished earlier" in line for line in run(spec))


def test_a_training_that_was_interrupted_resumes_elsewhere(here: Experiment, remote: Experiment) -> None:
    def die(row: dict[str, Any]) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(remote, device=torch.device("cpu"), on_progress=lambda *_: None, report=die)
    assert not run_folder(remote).model.exists()
    epochs: list[int] = []
    fit(remote, device=torch.device("cpu"), on_progress=lambda *_: None, report=lambda row: epochs.append(row["epoch"]))
    assert epochs == [2]
    run(remote)
    assert metrics_of(remote) == metrics_of(here)


def test_a_run_that_was_killed_resumes_in_another_process(
    s3: S3, here: Experiment, remote: Experiment, tmp_path: Path
) -> None:
    long = {"epochs": 40}
    spec = remote.model_copy(update={"training": remote.training.model_copy(update=long)})
    whole = here.model_copy(update={"training": spec.training, "out": str(tmp_path / "whole")})
    run(whole.model_copy(update={"store": spec.store}))
    command = [sys.executable, "-c", "from voxray.cli.app import main; main()", "train", "--no-ray"]
    # As many threads as the tests have: sums of more differ in their last digits.
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([*command, str(write_toml(tmp_path / "there.toml", spec))], env=environment)
    folder = run_folder(spec)
    while not (folder.checkpoints / "last.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    process.wait()
    assert not folder.model.exists()
    run(spec)
    assert metrics_of(spec) == metrics_of(whole)


@pytest.mark.parametrize("unlucky", ["last.safetensors", "model.safetensors", "metrics.json"])
def test_storage_that_cannot_be_written_stops_a_run_and_the_same_command_resumes(
    s3: S3, here: Experiment, remote: Experiment, unlucky: str
) -> None:
    s3.fault = lambda method, path: 503 if method == "PUT" and unlucky in path else None
    with pytest.raises(WorkError, match=f"{unlucky}: object storage failed"):
        run(remote)
    s3.reset()
    assert any("failed" in line for line in status_lines(remote.out_path, 0))
    run(remote)
    assert metrics_of(remote) == metrics_of(here)


def test_a_store_that_cannot_be_read_stops_a_training(s3: S3, here: Experiment, out: Path) -> None:
    spec = experiment(here.data_path, out, store={"path": str(s3.put_folder(Path(here.store_path)))})
    s3.fault = lambda method, path: 503 if method == "GET" and "/image/c/" in path else None
    with pytest.raises(WorkError, match="object storage failed"):
        run(spec)
    s3.reset()
    run(spec)
    assert metrics_of(spec) == metrics_of(here)


@pytest.mark.parametrize("fault", [403, 503])
def test_the_status_of_a_run_that_cannot_be_reached_is_one_line(
    s3: S3, fault: int, capsys: pytest.CaptureFixture[str]
) -> None:
    s3.fault = lambda method, path: fault
    run = s3.new_folder()
    with pytest.raises(SystemExit) as end:
        main(["status", str(run)])
    assert end.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"voxray: {run}: object storage failed: ")


def test_a_password_on_the_command_line_is_refused_and_not_repeated(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["status", "s3://me:pass-word@bucket/run"])
    assert end.value.code == 2
    error = capsys.readouterr().err
    assert "Set credentials in the environment" in " ".join(error.split())
    assert "pass-word" not in error


def test_no_key_is_in_what_a_run_leaves(s3: S3, remote: Experiment, capsys: pytest.CaptureFixture[str]) -> None:
    statuses = run(remote.model_copy(update={"tracking": remote.tracking.model_copy(update={"mode": "offline"})}))
    files = s3.contents(remote.out_path)
    assert any(name.startswith("wandb/") for name in files)
    for secret in (KEYS["AWS_SECRET_ACCESS_KEY"], KEYS["AWS_ACCESS_KEY_ID"]):
        assert not [name for name, content in files.items() if secret.encode() in content]
        assert secret not in "".join([*statuses, *capsys.readouterr()])
