"""A job on a real cluster whose nodes do not have the package installed."""

import os
import shutil
import socket
import subprocess
import sys
import sysconfig
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from scenes import SMALL_NET, experiment, write_toml

pytestmark = pytest.mark.cluster
START_S = 180
JOB_S = 900


@dataclass(frozen=True)
class Head:
    """A cluster's head node: where its dashboard listens, and an environment whose token it knows."""

    address: str
    environment: dict[str, str]


@pytest.fixture(scope="module")
def nodes_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Python that finds every installed package but no editable one: a plain path in a .pth file is all it gets."""
    folder = tmp_path_factory.mktemp("node")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
    python = folder / "venv" / "bin" / "python"
    where = subprocess.check_output(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"], encoding="utf-8"
    ).strip()
    Path(where, "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    found = subprocess.run(
        [python, "-c", "import ray, voxray"], env=alone, cwd=folder, capture_output=True, encoding="utf-8"
    )
    assert "No module named 'voxray'" in found.stderr
    return python


@pytest.fixture(scope="module")
def head(nodes_python: Path) -> Iterator[Head]:
    """A cluster of one node on loopback with token authentication, ended with the tests."""
    # A short path: the sockets inside it may not exceed 107 bytes.
    folder = Path(tempfile.mkdtemp(prefix="vrj", dir="/tmp"))
    (folder / "token").write_text("5b0d3c1f" * 8)
    cleared = ("PYTHONPATH", "RAY_ADDRESS", "RAY_AUTH_TOKEN")
    environment = {name: value for name, value in os.environ.items() if name not in cleared}
    environment |= {
        "PATH": f"{nodes_python.parent}{os.pathsep}{os.environ['PATH']}",
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(folder / "token"),
    }
    dashboard, client, agent = free_ports(3)
    command = [nodes_python, "-m", "ray.scripts.scripts", "start", "--head", "--block", "--port", "0"]
    command += ["--node-ip-address", "127.0.0.2", "--dashboard-host", "127.0.0.1", "--dashboard-port", dashboard]
    command += ["--ray-client-server-port", client, "--dashboard-agent-listen-port", agent]
    command += ["--num-cpus", "2", "--object-store-memory", str(100 * 2**20), "--temp-dir", folder / "ray"]
    command += ["--disable-usage-stats"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([str(word) for word in command], env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{dashboard}"
        wait_for(address, process, folder / "log")
        yield Head(address, environment)
    finally:
        end(process)
        shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[str]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [str(each.getsockname()[1]) for each in sockets]
    for each in sockets:
        each.close()
    return ports


def wait_for(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the dashboard answers, which is that it wants a token."""
    until = time.monotonic() + START_S
    while not (code := status_code(f"{address}/api/jobs/")):
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < until, log.read_text()
        time.sleep(0.2)
    assert code == 401


def status_code(url: str) -> int:
    """What a server answers; 0 while there is none."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def end(process: subprocess.Popen[bytes]) -> None:
    """End a head and every process that it started; it has nothing to put away."""
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
    for member in family:
        if member.is_running():
            member.kill()
    process.wait()


def submit(head: Head, folder: Path, *words: object, **changes: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", "from voxray.cli.app import main; main()", "submit", *map(str, words)]
    environment = {**head.environment, "PYTHONPATH": str(folder / "platform"), **changes}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, encoding="utf-8", timeout=JOB_S, check=False
    )


@pytest.fixture
def checkout(project: Path, tmp_path: Path) -> Path:
    """The project's folder as it would be on a user's machine, with an architecture of its own."""
    folder = tmp_path / "project"
    for name in ("platform", "jobs"):
        shutil.copytree(project / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    (folder / "architecture.json").write_text(SMALL_NET)
    return folder


def test_a_job_ingests_with_the_package_that_travels(head: Head, checkout: Path, luna: Path, tmp_path: Path) -> None:
    spec = experiment(luna, checkout / "run")
    write_toml(checkout / "small.toml", spec)
    settings = ["--set", f"out={tmp_path / 'run'}", "--address", head.address]
    refused = submit(head, checkout, "ingest", "small.toml", *settings, RAY_AUTH_TOKEN="wrong")
    assert refused.returncode == 1
    assert not (tmp_path / "run").exists()
    done = submit(head, checkout, "ingest", "small.toml", *settings, "--verify")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "every patch matches its checksum" in done.stdout
    assert (tmp_path / "run" / "store" / "index.parquet").exists()
    token = Path(head.environment["RAY_AUTH_TOKEN_PATH"]).read_text()
    assert token not in done.stdout + done.stderr
