"""Connecting to the cluster that the environment names, or starting one on this machine."""

import logging
import os
import re
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import ray

from voxray.console.failures import describe
from voxray.console.signals import Interrupted, deferred, keep_handlers
from voxray.errors import WorkError

LOCAL_OBJECT_STORE_BYTES = 256 * 2**20
CPUS_BESIDE_GPU = 2

REACH_S = 30.0
REMEDIES = {
    "local": "Use --no-ray, set RAY_TMPDIR to a short path on a disk with free space, or free memory",
    "cluster": "Check RAY_ADDRESS, the cluster and its token, or unset RAY_ADDRESS to work on this machine",
}

Node = Mapping[str, float]


@contextmanager
def cluster() -> Iterator[None]:
    """Provide a Ray cluster for the time of the block.

    The address comes from ``RAY_ADDRESS`` (as under ``ray job submit``). Without it a local cluster is started; a
    cluster that already runs on the machine is not used. An existing connection is kept.

    Raises
    ------
    WorkError
        The cluster cannot be reached, or does not start.
    """
    if ray.is_initialized():
        yield
        return
    try:
        _connect()
        yield
    finally:
        with deferred(), keep_handlers():
            ray.shutdown()


def _connect() -> None:
    # Ray Data's log lines would break the progress bar.
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    address = os.environ.get("RAY_ADDRESS")
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    try:
        with keep_handlers():
            if address:
                _check_reachable(address)
                ray.init(address=address, **options)
            else:
                # Only rows of paths and boxes travel between tasks.
                memory = LOCAL_OBJECT_STORE_BYTES
                ray.init(address="local", include_dashboard=False, object_store_memory=memory, **options)
    except SystemExit as end:
        # For this time, Ray's handler of SIGTERM is the one of Python.
        raise Interrupted(signal.SIGTERM) from end
    except Exception as error:
        where = address or "ray"
        problem = f"{'cannot be reached' if address else 'does not start'}: {describe(error)}"
        raise WorkError(where, problem, REMEDIES["cluster" if address else "local"]) from error


def _check_reachable(address: str) -> None:
    """Raise OSError where nothing listens at an address: Ray itself would try for minutes."""
    if match := re.fullmatch(r"(?:ray://)?([^:/]+):(\d+)", address):
        socket.create_connection((match[1], int(match[2])), timeout=REACH_S).close()


def configure_ray_data() -> None:
    """Turn off Ray Data's progress bars and its reservation of CPUs."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # It would reserve CPUs, one of two, for later operators; here there are none, and rows are small.
    context.op_resource_reservation_enabled = False


def node_resources() -> list[Node]:
    """The resources of each node that is alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def count_schedulable_workers(nodes: Sequence[Node], cpus: int, gpus: int) -> int:
    """Count the workers with these resources that fit on the nodes; a worker does not span two nodes.

    Parameters
    ----------
    nodes : sequence of mapping
        Resources of each node, under ``CPU`` and ``GPU``.
    cpus, gpus : int
        Of each worker; at least one is positive.
    """
    needed = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount}
    return sum(min(int(node.get(name, 0) // amount) for name, amount in needed.items()) for node in nodes)


def predictors(device: str, on_cpus: int) -> tuple[int, int, int]:
    """The number of actors that predict, each with its own model, and the CPUs and GPUs of each.

    One actor for each GPU of the cluster, if `device` allows and there are any; else at most `on_cpus`.
    """
    nodes = node_resources()
    gpus = count_schedulable_workers(nodes, 0, 1) if device != "cpu" else 0
    workers = gpus or max(1, min(on_cpus, count_schedulable_workers(nodes, 1, 0)))
    return workers, max_cpus_per_worker(nodes, workers, int(gpus > 0)), int(gpus > 0)


def max_cpus_per_worker(nodes: Sequence[Node], workers: int, gpus: int) -> int:
    """The most CPUs that each worker can have; 0 if the workers do not fit on the nodes.

    Parameters
    ----------
    nodes : sequence of mapping
    workers : int
    gpus : int
        Of each worker. Beside one, two CPUs are enough to load its batches.
    """
    most = int(sum(node.get("CPU", 0) for node in nodes) // workers)
    candidates = range(min(most, CPUS_BESIDE_GPU) if gpus else most, 0, -1)
    return next((cpus for cpus in candidates if count_schedulable_workers(nodes, cpus, gpus) >= workers), 0)
