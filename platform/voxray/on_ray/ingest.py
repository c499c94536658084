"""Ingest on Ray Data: rows that name shards go out, rows that say what came of them come back."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import ray

from voxray.errors import VoxrayError, WorkError
from voxray.on_ray.board import failure_row, raise_failure
from voxray.places import Place
from voxray.store.write import ShardReport, write_shard

BLOCKS = 1000


def write_shards(path: Place, root: Place, fill: float, keys: list[tuple[str, int]]) -> Iterator[ShardReport]:
    """Write shards on the cluster, one task a shard; yields a report of each as it is finished.

    Voxels never travel between tasks: a task reads its scans and writes its shard.

    Raises
    ------
    WorkError
        A task failed for good.
    """
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False

    def write(row: dict[str, Any]) -> dict[str, Any]:
        try:
            report = write_shard(path, root, fill, row["split"], row["shard"])
            return {**asdict(report), "error": ""}
        except VoxrayError as error:
            return {**asdict(ShardReport(row["split"], row["shard"], 0, 0, 0, 0.0)), "error": failure_row(error)}

    rows = [{"split": split, "shard": shard} for split, shard in keys]
    dataset = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS)).map(write, num_cpus=1)
    try:
        for row in dataset.iter_rows():
            raise_failure(row)
            del row["error"]
            yield ShardReport(**row)
    except ray.exceptions.RayError as error:
        raise WorkError("ingest", f"a task was lost: {type(error).__name__}", "The same command goes on") from error
