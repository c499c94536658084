"""Joining the cluster that the environment names, or starting one in this process tree."""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import ray

LOCAL_OBJECT_STORE_BYTES = 256 * 2**20
CPUS_BESIDE_GPU = 2

Node = Mapping[str, float]


@contextmanager
def cluster() -> Iterator[None]:
    """Have a Ray cluster for the time of the block.

    The address comes from ``RAY_ADDRESS`` (as under ``ray job submit``). Without it a local cluster is started,
    never whatever cluster happens to run on the machine. A cluster that is connected already is left alone.
    """
    if ray.is_initialized():
        yield
        return
    # Ray Data's own lines would fight over the terminal with the progress display.
    os.environ.setdefault("RAY_DATA_LOG_LEVEL", "ERROR")
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    else:
        ray.init(
            address="local",
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            # Only rows of paths and boxes travel between tasks.
            object_store_memory=LOCAL_OBJECT_STORE_BYTES,
        )
    try:
        yield
    finally:
        ray.shutdown()


def configure_ray_data() -> None:
    """Ray Data as every stage wants it: it shows nothing, and gives out tasks as long as there is a CPU for one."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    # It would hold CPUs back, one of two, for those who come after; here nobody does, and rows are small.
    context.op_resource_reservation_enabled = False


def node_resources() -> list[Node]:
    """What each node that is alive has to give."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def count_schedulable_workers(nodes: Sequence[Node], cpus: int, gpus: int) -> int:
    """How many workers find room that take so many CPUs and GPUs each; none may lie on two nodes.

    Parameters
    ----------
    nodes : sequence of mapping
        What each node has, under ``CPU`` and ``GPU``.
    cpus, gpus : int
        At least one of them is more than 0.
    """
    wanted = {name: amount for name, amount in (("CPU", cpus), ("GPU", gpus)) if amount}
    return sum(min(int(node.get(name, 0) // amount) for name, amount in wanted.items()) for node in nodes)


def predictors(device: str, on_cpus: int) -> tuple[int, int, int]:
    """How many actors predict, each with a model of its own, and the CPUs and GPUs of each.

    One for each GPU of the cluster, where `device` allows and there are any; else `on_cpus`, as far as there is room.
    """
    nodes = node_resources()
    gpus = count_schedulable_workers(nodes, 0, 1) if device != "cpu" else 0
    workers = gpus or max(1, min(on_cpus, count_schedulable_workers(nodes, 1, 0)))
    return workers, max_cpus_per_worker(nodes, workers, int(gpus > 0)), int(gpus > 0)


def max_cpus_per_worker(nodes: Sequence[Node], workers: int, gpus: int) -> int:
    """Most CPUs that each of some workers can have; 0 where not all find room.

    Parameters
    ----------
    nodes : sequence of mapping
    workers : int
    gpus : int
        Of each worker. Beside one, two CPUs are enough to feed it.
    """
    most = int(sum(node.get("CPU", 0) for node in nodes) // workers)
    shares = range(min(most, CPUS_BESIDE_GPU) if gpus else most, 0, -1)
    return next((cpus for cpus in shares if count_schedulable_workers(nodes, cpus, gpus) >= workers), 0)
