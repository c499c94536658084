"""Inspection on Ray Data: tables of paths are sent to tasks, tables of statistics come back."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray

from voxray.config.labels import MaskLabels
from voxray.errors import WorkError
from voxray.executors.ray.connect import configure_ray_data
from voxray.executors.ray.progress_actor import cause
from voxray.inspection.scan_stats import inspect_scans
from voxray.storage.paths import AnyPath


def inspect_on_ray(
    root: AnyPath, chunks: Sequence[pa.Table], labels: MaskLabels | None, voxels: bool
) -> Iterator[pa.Table]:
    """Statistics of scans, a task for each chunk; in the order in which they are finished.

    Parameters
    ----------
    root, labels, voxels
        As for `inspect_scans`.
    chunks : sequence of pyarrow.Table
        Schema TARGETS.

    Raises
    ------
    WorkError
        A task failed for good.
    """
    if not chunks:
        return
    configure_ray_data()

    def inspect(targets: pa.Table) -> pa.Table:
        return inspect_scans(root, targets, labels, voxels)

    tables = ray.data.from_arrow(list(chunks))
    statistics = tables.map_batches(inspect, batch_format="pyarrow", batch_size=None, num_cpus=1)
    try:
        yield from statistics.iter_batches(batch_format="pyarrow", batch_size=None)
    except ray.exceptions.RayError as error:
        raise WorkError("inspect", f"a task was lost: {cause(error)}", "Re-run the same command") from error
