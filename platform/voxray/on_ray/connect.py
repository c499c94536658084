"""Joining the cluster that the environment names, or starting one in this process tree."""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import ray

LOCAL_OBJECT_STORE_BYTES = 256 * 2**20


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


def has_gpu() -> bool:
    """Whether the connected cluster has a GPU."""
    return bool(ray.cluster_resources().get("GPU", 0))


def share_of_cluster(workers: int, device: str) -> tuple[int, int]:
    """CPUs and GPUs for each of some workers that predict.

    A GPU each where `device` allows and the cluster has enough of them, and then two CPUs to feed it; else an
    equal share of all CPUs.
    """
    resources = ray.cluster_resources()
    gpus = int(device != "cpu" and resources.get("GPU", 0) >= workers)
    share = max(1, int(resources.get("CPU", 1) // workers))
    return (min(2, share) if gpus else share), gpus
