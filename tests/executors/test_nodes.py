"""Several real nodes on this machine: what they compute together, and what comes of their loss."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any

import psutil
import pyarrow.parquet as pq
import pytest
import ray
from ingesting import contents
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from scenes import SHAPE, experiment, write_luna

from voxray.config.experiment import Experiment
from voxray.console.signals import Interrupted
from voxray.executors.local import LocalExecutor
from voxray.executors.ray.executor import RayExecutor
from voxray.executors.ray.shard_tasks import spread_shards
from voxray.executors.ray.train_workers import train_on_ray
from voxray.stages.ingest import ingest
from voxray.stages.train import train
from voxray.store.write import ShardReport
from voxray.training.checkpoint import read_metadata

if TYPE_CHECKING:
    from ray.cluster_utils import Cluster

DEADLINE_S = 300
# Nothing in it depends on how many share a batch: no dropout, no batch normalization.
NET = """[
  {"type": "C", "activation": "tanh", "num_output": 3, "kernel_size": [3, 3, 3], "stride": [2, 2, 2]},
  {"type": "FC", "activation": "relu", "num_output": 6},
  {"type": "T", "activation": null}
]"""


def quiet(line: str) -> None:
    """Swallow what a stage says."""


@contextmanager
def another_node(cluster: "Cluster", **resources: Any) -> Iterator[Any]:
    """A second node with two CPUs, for the time of a block if it lives so long."""
    node = cluster.add_node(num_cpus=2, object_store_memory=80 * 2**20, **resources)
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)
        # What comes next is not to count on it.
        wait_until(lambda: node.node_id not in [each["NodeID"] for each in ray.nodes() if each["Alive"]])


@contextmanager
def meanwhile(action: Callable[[], None]) -> Iterator[None]:
    """Do something else beside a block, and see that it came off; where it does not, the block is ended."""

    def act() -> None:
        try:
            action()
        except BaseException:
            os.kill(os.getpid(), signal.SIGTERM)
            raise

    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(act)
        try:
            yield
        finally:
            done.result()


def wait_until(what: Callable[[], object]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def train_workers() -> list[psutil.Process]:
    processes = []
    for process in psutil.Process().children(recursive=True):
        try:
            if "RayTrainWorker" in " ".join(process.cmdline()):
                processes.append(process)
        except (psutil.NoSuchProcess, psutil.ZombieProcess):
            continue
    return processes


def history(spec: Experiment) -> list[dict[str, float]]:
    """The metrics of each epoch, of those that are numbers."""
    rows = pq.read_table(spec.out_path / "history.parquet").to_pylist()
    kinds = ("epoch", "train", "val")
    return [{name: x for name, x in row.items() if name.split("_")[0] in kinds and x == x} for row in rows]


def finished_epochs(spec: Experiment) -> int:
    """How many epochs of a training are in its checkpoint."""
    path = spec.out_path / "checkpoints" / "last.safetensors"
    return int(read_metadata(path)["progress"]["epoch"]) if path.exists() else 0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, luna: Path) -> Path:
    """A store, and an architecture that is trained alike by one process and by many."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "architecture.json").write_text(NET)
    ingest(spec_in(folder, luna, "plain", 4), LocalExecutor(), quiet)
    return folder


def spec_in(folder: Path, luna: Path, name: str, workers: object, epochs: int = 8) -> Experiment:
    # Adam magnifies differences in last bits where gradients are small.
    training = {"workers": workers, "epochs": epochs, "batch_size": 14, "learning_rate": 0.01, "optimizer": "sgd"}
    return experiment(
        luna, folder / name, store={"path": str(folder / "store")}, training=training, augment={"contrast": 0.2}
    )


@pytest.fixture(scope="module")
def alone(folder: Path, luna: Path) -> list[dict[str, float]]:
    """What one process comes to that does the work of four."""
    spec = spec_in(folder, luna, "plain", 4)
    train(spec, LocalExecutor(), quiet)
    return history(spec)


@pytest.fixture(scope="module")
def together(folder: Path, luna: Path, ray_here: "Cluster") -> Experiment:
    """A training by four workers on two nodes."""
    spec = spec_in(folder, luna, "together", 4)
    with another_node(ray_here):
        train(spec, RayExecutor(), quiet)
    return spec


def assert_same_curve(some: list[dict[str, float]], others: list[dict[str, float]]) -> None:
    assert len(some) == len(others)
    for one, other in zip(some, others, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-5)


def test_two_nodes_with_two_workers_each_have_the_loss_curve_of_one_process(
    alone: list[dict[str, float]], together: Experiment
) -> None:
    assert_same_curve(history(together), alone)
    assert alone[-1]["train_loss"] < alone[0]["train_loss"]


@pytest.mark.usefixtures("ray_here")
def test_a_training_whose_worker_is_killed_ends_like_one_that_was_left_alone(folder: Path, luna: Path) -> None:
    undisturbed = spec_in(folder, luna, "left", 2)
    train(undisturbed, LocalExecutor(), quiet)
    spec = spec_in(folder, luna, "killed", 2)

    def kill_one() -> None:
        wait_until(lambda: finished_epochs(spec) >= 2)
        workers = train_workers()
        assert len(workers) == 2
        workers[1].send_signal(signal.SIGKILL)
        assert finished_epochs(spec) < spec.training.epochs

    with meanwhile(kill_one):
        train(spec, RayExecutor(), quiet)
    assert_same_curve(history(spec), history(undisturbed))


@pytest.mark.faults
def test_a_training_takes_nodes_that_come_leaves_those_that_go_and_stops_when_asked(
    folder: Path, luna: Path, ray_here: "Cluster", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("voxray.executors.ray.train_workers.RESIZE_S", 1.0)
    # Ray tries at first to place workers on the node that is about to go.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "10")
    spec = spec_in(folder, luna, "elastic", (1, 4), epochs=120)
    asked = Event()
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(train_on_ray, spec, lambda *_: None, stop=asked.is_set)

        def see(count: int) -> None:
            """Wait until so many workers train, and have finished an epoch."""
            wait_until(lambda: training.done() or len(train_workers()) == count)
            epoch = finished_epochs(spec)
            wait_until(lambda: training.done() or finished_epochs(spec) > epoch)
            assert not training.done(), training.exception()

        try:
            see(2)
            with another_node(ray_here) as node:
                see(4)
                announce_end(ray_here, node)
                wait_until(lambda: training.done() or not train_workers())
            see(2)
        finally:
            asked.set()
        with pytest.raises(Interrupted):
            training.result()
    assert 0 < finished_epochs(spec) < spec.training.epochs
    train(spec, LocalExecutor(), quiet)
    undisturbed = spec_in(folder, luna, "undisturbed", 4, epochs=120)
    train(undisturbed, LocalExecutor(), quiet)
    assert_same_curve(history(spec), history(undisturbed))


def announce_end(cluster: "Cluster", node: Any) -> None:
    """Say that a node is about to be taken away, as a cloud's notice of preemption does."""
    notice = "--reason DRAIN_NODE_REASON_PREEMPTION --reason-message spot --deadline-remaining-seconds 20"
    command = [sys.executable, "-m", "ray.scripts.scripts", "drain-node", "--address", cluster.address]
    subprocess.run([*command, "--node-id", node.node_id, *notice.split()], check=True)


def test_a_node_lost_during_ingest_leaves_the_same_store(tmp_path: Path, ray_here: "Cluster") -> None:
    write_luna(tmp_path / "luna", 60, negatives=60, shape=(SHAPE[0] * 2, SHAPE[1] * 2, SHAPE[2] * 2))
    (tmp_path / "architecture.json").write_text(NET)

    def spec(name: str) -> Experiment:
        return experiment(tmp_path / "luna", tmp_path / name, patches={"negatives_per_positive": "all"})

    ingest(spec("plain"), LocalExecutor(), quiet)
    parts = spec("lost").store_path / "parts"
    with another_node(ray_here) as node:

        def lose_node() -> None:
            wait_until(lambda: len(list(parts.glob("[!.]*-*.parquet"))) >= 5)
            ray_here.remove_node(node, allow_graceful=False)
            assert not (spec("lost").store_path / "index.parquet").exists(), "ingest was over before the node was lost"

        with meanwhile(lose_node):
            ingest(spec("lost"), RayExecutor(), quiet)
    assert contents(spec("plain").store_path) == contents(spec("lost").store_path)


@contextmanager
def busy_head() -> Iterator[None]:
    """The first node's CPUs taken."""
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    holder = Holder.options(num_cpus=2, scheduling_strategy=here).remote()
    ray.get(holder.hold.remote())
    try:
        yield
    finally:
        ray.kill(holder)


@ray.remote
class Holder:
    def hold(self) -> None:
        """Be there."""


def test_tasks_that_do_not_fit_into_a_nodes_memory_together_run_one_after_the_other(ray_here: "Cluster") -> None:
    def nap(split: str, shard: int) -> ShardReport:
        began = time.time()
        time.sleep(0.5)
        return ShardReport(split, shard, 0, 0, 0, began)

    keys = [("train", shard) for shard in range(6)]
    with another_node(ray_here, memory=2**30), busy_head():
        reports = [report for _, report in spread_shards(nap, keys, 700 * 2**20)]
    starts = sorted(report.seconds for report in reports if isinstance(report, ShardReport))
    assert len(starts) == len(keys)
    assert all(later - start >= 0.5 for start, later in pairwise(starts))


def test_a_shard_that_wants_more_memory_than_its_task_was_given_is_written_by_another(
    luna: Path, out: Path, tmp_path: Path, ray_here: "Cluster", monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = experiment(luna, out, store={"path": str(tmp_path / "plain")})
    ingest(plain, LocalExecutor(), quiet)
    monkeypatch.setattr("voxray.executors.ray.shard_tasks.TASK_BYTES", 2**20)
    spread = experiment(luna, out, store={"path": str(tmp_path / "spread")})
    ingest(spread, RayExecutor(), quiet)
    assert contents(plain.store_path) == contents(spread.store_path)
