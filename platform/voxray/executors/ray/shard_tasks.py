"""Ingest on Ray Data: rows that name shards are sent to tasks, rows with their reports come back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import ray

from voxray.errors import WorkError
from voxray.executors.ray.connect import configure_ray_data, node_resources
from voxray.executors.ray.progress_actor import cause, failure_row, raise_failure
from voxray.storage.paths import AnyPath
from voxray.store.memory import TASK_BYTES, at_most, memory_classes
from voxray.store.write import ShardReport, write_shard_within

BLOCKS = 1000

Key = tuple[str, int]


def write_shards(path: AnyPath, root: AnyPath, keys: Sequence[Key]) -> Iterator[ShardReport]:
    """Write shards on the cluster, one task a shard; yields the report of each finished shard.

    Voxels are not sent between tasks: a task reads its scans, their headers first, and writes its shard. A shard that
    needs more memory than its task has is returned, and written by a task with that much memory.

    Raises
    ------
    WorkError
        A task failed for good.
    """
    # Nodes without CPUs take no tasks; where there are no others yet, an autoscaler knows what it can start.
    limit = max((int(node.get("memory", 0)) for node in node_resources() if node.get("CPU")), default=None)

    waiting = {at_most(TASK_BYTES, limit): list(keys)} if keys else {}
    while waiting:
        needed_bytes: dict[Key, int] = {}
        for memory_bytes, shards in waiting.items():
            work = partial(write_shard_within, path, root, given=memory_bytes, room=limit)
            for key, outcome in spread_shards(work, shards, memory_bytes):
                if isinstance(outcome, ShardReport):
                    yield outcome
                else:
                    needed_bytes[key] = outcome
        waiting = memory_classes(needed_bytes, limit)


def spread_shards(
    work: Callable[[str, int], ShardReport | int], keys: list[Key], memory_bytes: int
) -> Iterator[tuple[Key, ShardReport | int]]:
    """Do `work` for each shard in a task with this much memory; yields its reports, or needed bytes, in any order."""
    configure_ray_data()

    def work_on(row: dict[str, Any]) -> dict[str, Any]:
        report, needed, error = ShardReport(row["split"], row["shard"], 0, 0, 0, 0.0), 0, ""
        try:
            outcome = work(row["split"], row["shard"])
        except Exception as problem:  # noqa: BLE001  any error names its shard, and reaches the driver
            error = failure_row(problem, f"{row['split']} shard {row['shard']}")
        else:
            report, needed = (outcome, 0) if isinstance(outcome, ShardReport) else (report, outcome)
        return {**asdict(report), "needed": needed, "error": error}

    rows = [{"split": split, "shard": shard} for split, shard in keys]
    blocks = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
    try:
        for row in blocks.map(work_on, num_cpus=1, memory=memory_bytes).iter_rows():
            raise_failure(row)
            needed, _ = row.pop("needed"), row.pop("error")
            yield (row["split"], row["shard"]), needed or ShardReport(**row)
    except ray.exceptions.RayError as error:
        problem = f"a task was lost: {cause(error)}"
        raise WorkError("ingest", problem, "Re-run the same command to resume") from error
