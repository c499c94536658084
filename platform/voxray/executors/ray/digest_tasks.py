"""Scans cut again on Ray Data: rows of the plan are sent to tasks, digests of their patches come back."""

from collections.abc import Iterator, Sequence

import pyarrow as pa
import ray

from voxray.errors import WorkError
from voxray.executors.ray.connect import configure_ray_data
from voxray.executors.ray.progress_actor import cause, failure_row, raise_failure
from voxray.storage.paths import AnyPath
from voxray.store.compare import DIGESTS, cut_digests


def digest_on_ray(path: AnyPath, root: AnyPath, chunks: Sequence[pa.Table]) -> Iterator[pa.Table]:
    """Digests of patches, a task for each chunk; in the order in which they are finished.

    Parameters
    ----------
    path, root : AnyPath
        As for `cut_digests`.
    chunks : sequence of pyarrow.Table
        Of `voxray.store.compare.chunk_scans`.

    Raises
    ------
    WorkError
        A task failed for good.
    """
    if not chunks:
        return
    configure_ray_data()
    schema = DIGESTS.append(pa.field("error", pa.string()))

    def digest(rows: pa.Table) -> pa.Table:
        try:
            found = cut_digests(path, root, rows)
        except Exception as problem:  # noqa: BLE001  any error reaches the driver
            return pa.Table.from_pylist([{"error": failure_row(problem, "compare scans")}], schema=schema)
        return found.append_column("error", pa.array([""] * found.num_rows, pa.string()))

    tables = ray.data.from_arrow(list(chunks)).map_batches(digest, batch_format="pyarrow", batch_size=None, num_cpus=1)
    try:
        for row in tables.iter_rows():
            raise_failure(row)
            yield pa.Table.from_pylist([row], schema=DIGESTS)
    except ray.exceptions.RayError as error:
        problem = f"a task was lost: {cause(error)}"
        raise WorkError("ingest", problem, "Re-run the same command to resume") from error
