"""Fixtures shared by all tests."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import hypothesis
import pytest
import torch
from api_runs import ApiRuns, make_api_runs
from s3_server import KEYS, S3, serve
from scenes import SMALL_NET, write_luna

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

os.environ["WANDB_MODE"] = os.environ.get("WANDB_MODE", "offline")
os.environ["WANDB_SILENT"] = "true"
os.environ["KERAS_BACKEND"] = "torch"

# A busy machine is no failure of the code.
hypothesis.settings.register_profile("voxray", deadline=None)
hypothesis.settings.load_profile("voxray")

PROJECT = Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _few_threads() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def project() -> Path:
    """The project's root."""
    return PROJECT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test skips where it is absent."""
    path = Path(os.environ.get("VOXRAY_REAL_DATA", PROJECT.parent / "shared" / "data"))
    if not path.is_dir():
        pytest.skip(f"needs the real data folder {path}: set VOXRAY_REAL_DATA")
    return path


@pytest.fixture(scope="session")
def luna(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LUNA16 folder of eight small scans, not to be changed."""
    root = tmp_path_factory.mktemp("luna")
    write_luna(root, 8, bright=900)
    return root


@pytest.fixture(scope="session")
def api_runs(tmp_path_factory: pytest.TempPathFactory) -> ApiRuns:
    """Small finished runs, not to be changed."""
    return make_api_runs(tmp_path_factory.mktemp("api"))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """An empty run folder beside a small architecture file."""
    (tmp_path / "architecture.json").write_text(SMALL_NET)
    return tmp_path / "run"


@pytest.fixture(scope="session")
def _s3_server() -> Iterator[S3]:
    with serve() as server:
        yield server


def _name_server(environment: pytest.MonkeyPatch, server: S3) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server.url, "AWS_MAX_ATTEMPTS": "3"}.items():
        environment.setenv(name, value)


@pytest.fixture
def s3(_s3_server: S3, monkeypatch: pytest.MonkeyPatch) -> S3:
    """An S3 server on loopback that the environment names, without faults and with nothing asked of it yet."""
    _name_server(monkeypatch, _s3_server)
    _s3_server.reset()
    return _s3_server


@pytest.fixture(scope="session")
def ray_here(_s3_server: S3) -> "Iterator[Cluster]":
    """A Ray cluster for all tests that need one: a node with two CPUs, to which a test may add others for its time.

    The environment of its processes names the S3 server.
    """
    import ray
    from ray.cluster_utils import Cluster

    # Ray notes there which cluster is the newest, and does not make the folder for one with a folder of its own.
    Path("/tmp/ray").mkdir(exist_ok=True)
    # A short path: the sockets inside it may not exceed 107 bytes.
    folder = tempfile.mkdtemp(prefix="vr", dir="/tmp")
    head = {"num_cpus": 2, "include_dashboard": False, "temp_dir": folder, "object_store_memory": 100 * 2**20}
    with pytest.MonkeyPatch.context() as environment:
        _name_server(environment, _s3_server)
        cluster = Cluster(initialize_head=True, head_node_args=head)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    shutil.rmtree(folder, ignore_errors=True)
