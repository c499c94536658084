"""On Ray with everything in object storage: nothing that a node keeps is needed to go on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
from s3_server import S3
from scenes import SMALL_NET, experiment, write_toml

from voxray import stages
from voxray.runs.folder import run_folder


def start(toml: Path, tmp: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from voxray.cli import main; main()", "run", str(toml)]
    environment = {**os.environ, "RAY_TMPDIR": tmp}
    environment.pop("RAY_ADDRESS", None)
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
    )


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a driver, and the processes of its cluster, which it would have ended."""
    children = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    for child in children:
        if child.is_running():
            child.kill()


def test_a_run_killed_while_it_trains_goes_on_on_another_machine(s3: S3, luna: Path, tmp_path: Path) -> None:
    (tmp_path / "architecture.json").write_text(SMALL_NET)
    changes = {"training": {"epochs": 8}}
    here = experiment(luna, tmp_path / "here", **changes)
    stages.run(here, lambda line: None, with_ray=False)
    model = {"architecture": str(tmp_path / "architecture.json")}
    there = experiment(s3.put_folder(luna), s3.new_folder(), model=model, **changes)
    toml, folder = write_toml(tmp_path / "there.toml", there), run_folder(there)
    process = start(toml, "/tmp/vrk")
    deadline = time.monotonic() + 600
    while not (folder.checkpoints / "last.safetensors").exists():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kill(process)
    assert not folder.model.exists()
    again = start(toml, "/tmp/vrl")
    said, _ = again.communicate(timeout=600)
    assert again.returncode == 0, said
    assert "the store" in said
    assert "is finished, it is reused" in said
    assert json.loads(folder.metrics.read_text()) == json.loads(run_folder(here).metrics.read_text())
