"""A Ray cluster on this machine."""

import logging
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def local_cluster(cpus: int) -> Iterator[None]:
    """A Ray cluster with `cpus` CPUs, in its own temporary folder."""
    import ray

    folder = tempfile.mkdtemp(prefix="vrb", dir="/tmp")
    try:
        ray.init(
            address="local",
            num_cpus=cpus,
            include_dashboard=False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            object_store_memory=256 * 2**20,
            _temp_dir=folder,
        )
        yield
    finally:
        ray.shutdown()
        shutil.rmtree(folder, ignore_errors=True)
