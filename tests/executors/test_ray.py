import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from ingesting import contents
from s3_server import S3
from scenes import SHAPE, SMALL_NET, experiment, write_luna, write_toml

from voxray.config.experiment import Experiment
from voxray.errors import ConfigError, DataError, WorkError
from voxray.executors.local import LocalExecutor
from voxray.executors.ray.executor import RayExecutor
from voxray.runs.folder import run_folder
from voxray.runs.status import SILENT_S, status_lines
from voxray.stages.ingest import ingest
from voxray.stages.pipeline import run
from voxray.stages.train import train

pytestmark = pytest.mark.usefixtures("ray_here")


def quiet(line: str) -> None:
    """Swallow what a stage says."""


def test_the_store_is_the_same_with_and_without_ray(luna: Path, out: Path, tmp_path: Path) -> None:
    plain = experiment(luna, out, store={"path": str(tmp_path / "plain")})
    ingest(plain, LocalExecutor(), quiet)
    spread = experiment(luna, out, store={"path": str(tmp_path / "spread")})
    ingest(spread, RayExecutor(), quiet)
    assert contents(plain.store_path) == contents(spread.store_path)


def test_a_run_on_ray_with_everything_in_storage_has_the_metrics_of_one_without_either(
    s3: S3, luna: Path, out: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Dropout is drawn by each worker.
    architecture = out.parent / "architecture.json"
    architecture.write_text(SMALL_NET.replace('"drop_out": 10', '"drop_out": 0'))
    changes = {"training": {"workers": 2}, "model": {"architecture": str(architecture)}}
    here = experiment(luna, out, **changes)
    there = experiment(s3.put_folder(luna), s3.new_folder(), **changes)
    metrics = []
    for spec, executor in ((here, LocalExecutor()), (there, RayExecutor())):
        run(spec, executor, quiet)
        folder = run_folder(spec)
        metrics.append(json.loads(folder.metrics.read_text()))
        for path in (folder.experiment, folder.architecture, folder.model, folder.history, folder.report):
            assert path.exists()
        lines = [line.split(" after")[0] for line in status_lines(folder.path, time.time())]
        assert lines == [f"{stage}: finished" for stage in ("ingest", "train", "evaluate", "report")]
    assert "in the object store" not in capfd.readouterr().err  # a warning of Ray about arguments of an actor
    # Two workers add up in another order than one process, so sums differ in their last bits.
    for split in ("val", "test"):
        for name in ("samples", "loss", "roc_auc", "recall", "precision", "confusion_matrix"):
            assert np.asarray(metrics[1][split][name]) == pytest.approx(np.asarray(metrics[0][split][name]), rel=1e-4)


def test_an_error_in_a_worker_keeps_its_words(luna: Path, out: Path) -> None:
    spec = experiment(luna, out, training={"optimizer": "sgd", "learning_rate": 1e20})
    ingest(spec, RayExecutor(), quiet)
    with pytest.raises(WorkError, match=r"the training loss is (nan|inf).*Lower training\.learning_rate"):
        train(spec, RayExecutor(), quiet)


def test_more_workers_than_cpus_are_refused_before_anything_starts(luna: Path, out: Path) -> None:
    spec = experiment(luna, out, training={"workers": 3})
    ingest(spec, RayExecutor(), quiet)
    with pytest.raises(ConfigError, match=r"training\.workers: 3 workers need one CPU each, the cluster has 2"):
        train(spec, RayExecutor(), quiet)


def test_broken_scans_fail_the_job_after_the_rest(out: Path, tmp_path: Path) -> None:
    names = write_luna(tmp_path / "luna", 4)
    (tmp_path / "luna" / "subset1" / f"{names[1]}.raw").unlink()
    with pytest.raises(DataError, match="1 of 4 scans cannot be used"):
        ingest(experiment(tmp_path / "luna", out), RayExecutor(), quiet)
    assert list((out / "store" / "parts").glob("[!.]*-*.parquet"))
    (line,) = status_lines(out, time.time())
    assert line.startswith("ingest: failed after")
    assert "1 of 4 scans cannot be used" in line


def big_luna(root: Path) -> Path:
    write_luna(root, 40, negatives=60, shape=(SHAPE[0] * 2, SHAPE[1] * 2, SHAPE[2] * 2))
    return root


def end(process: subprocess.Popen[bytes], how: signal.Signals) -> None:
    """Kill a driver and, where it dies without a word, the processes of its cluster, which it started."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(how)
    process.wait(60)
    for child in children:
        with_name = psutil.pid_exists(child.pid) and child.is_running()
        if with_name:
            child.kill()


def test_ingest_killed_half_way_and_run_again_gives_the_identical_store(tmp_path: Path) -> None:
    root = big_luna(tmp_path / "luna")
    (tmp_path / "architecture.json").write_text('[{"type": "T", "activation": null}]')

    def spec(name: str) -> Experiment:
        return experiment(root, tmp_path / name, patches={"negatives_per_positive": "all"})

    ingest(spec("whole"), LocalExecutor(), quiet)
    other = spec("killed")
    command = [sys.executable, "-c", "from voxray.cli.app import main; main()", "ingest"]
    command.append(str(write_toml(tmp_path / "killed.toml", other)))
    environment = {**os.environ, "RAY_TMPDIR": "/tmp/vrk"}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    parts = other.store_path / "parts"
    deadline = time.monotonic() + 300
    while len(list(parts.glob("[!.]*-*.parquet"))) < 5:
        assert process.poll() is None, "ingest ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.002)
    end(process, signal.SIGKILL)
    done = len(list(parts.glob("[!.]*-*.parquet")))
    assert not (other.store_path / "index.parquet").exists()
    (line,) = status_lines(other.out_path, time.time() + SILENT_S)
    assert line.startswith("ingest: silent, ")
    assert f"no update from process {process.pid} on " in line
    statuses: list[str] = []
    ingest(other, RayExecutor(), statuses.append)
    assert any("shards are finished, resuming" in line for line in statuses)
    assert done >= 5
    assert contents(other.store_path) == contents(tmp_path / "whole" / "store")


def test_ctrl_c_during_training_says_how_to_resume(luna: Path, out: Path) -> None:
    spec = experiment(luna, out, training={"epochs": 2000})
    ingest(spec, RayExecutor(), quiet)
    command = [str(Path(sys.executable).with_name("voxray")), "train", str(write_toml(out.parent / "a.toml", spec))]
    environment = {**os.environ, "RAY_TMPDIR": "/tmp/vrk"}
    environment.pop("RAY_ADDRESS", None)
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, encoding="utf-8"
    )
    deadline = time.monotonic() + 300
    while not (out / "checkpoints" / "last.safetensors").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "finished work is kept. Resume with: voxray train" in error
    assert "Traceback" not in error.split("Resume with")[1]
    assert status_lines(out, time.time())[-1].startswith("train: interrupted after")
