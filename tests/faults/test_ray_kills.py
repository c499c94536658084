"""Kills of real processes on Ray: of the driver, and of a worker. The same command ends with the same results."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from faults.results import compare, results
from faults.scenes import TOML, write_scene

pytestmark = [pytest.mark.faults, pytest.mark.cluster]

TIMEOUT_S = 300
ENDS = {  # of each stage, what shows that it works, and the file after which it is too late
    "ingest": ("store/parts/plan.parquet", "store/index.parquet"),
    "train": ("run/checkpoints/last.safetensors", "run/model.safetensors"),
    "evaluate": ("run/model.safetensors", "run/metrics.json"),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An undisturbed run without Ray."""
    folder = tmp_path_factory.mktemp("whole") / "scene"
    write(folder)
    assert command(folder, "run", "--no-ray").wait(TIMEOUT_S) == 0
    return folder


def write(folder: Path) -> None:
    write_scene(folder, "classes", 0, str(folder))


def command(folder: Path, stage: str, *options: str) -> subprocess.Popen[str]:
    program = [sys.executable, "-m", "voxray", stage, TOML, "--set", "training.epochs=30", *options]
    with tempfile.TemporaryFile("w+") as errors:
        return subprocess.Popen(
            program,
            cwd=folder,
            env={**os.environ, "RAY_TMPDIR": "/tmp/vrf"},
            stdout=subprocess.DEVNULL,
            stderr=errors,
            encoding="utf-8",
        )


def wait_for(process: subprocess.Popen[str], found: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while not found() and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)


def workers(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """The processes of Ray that run tasks and actors of Voxray."""
    found = []
    for child in psutil.Process(process.pid).children(recursive=True):
        try:
            title = " ".join(child.cmdline())
        except psutil.Error:
            continue
        if title.startswith("ray::") and "Agent" not in title and "IDLE" not in title:
            found.append(child)
    return found


def kill_worker(process: subprocess.Popen[str]) -> None:
    found: list[psutil.Process] = []
    wait_for(process, lambda: bool(found.extend(workers(process)) or found))
    for worker in found[:1]:
        worker.kill()
    process.wait(TIMEOUT_S)


def kill_driver(process: subprocess.Popen[str]) -> None:
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.wait(60)
    for child in children:
        if child.is_running():
            child.kill()


@pytest.mark.parametrize("kill", [kill_driver, kill_worker])
@pytest.mark.parametrize("stage", ENDS)
def test_a_run_on_ray_that_loses_a_process_ends_with_the_results_of_an_undisturbed_one(
    whole: Path, tmp_path: Path, stage: str, kill: Callable[[subprocess.Popen[str]], None]
) -> None:
    folder = tmp_path / "scene"
    write(folder)
    process = command(folder, "run")
    wait_for(process, (folder / ENDS[stage][0]).exists)
    kill(process)
    assert process.returncode in (0, 1, -signal.SIGKILL)
    assert command(folder, "run").wait(TIMEOUT_S) == 0
    assert compare(results(whole), results(folder)) == ""
