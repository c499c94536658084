"""Ingest on Ray Data: rows that name shards go out, rows that say what came of them come back."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any

import ray

from voxray.errors import VoxrayError, WorkError
from voxray.executors.ray.connect import configure_ray_data, node_resources
from voxray.executors.ray.progress_actor import failure_row, raise_failure
from voxray.storage.paths import AnyPath
from voxray.store.memory import TASK_BYTES, at_most, memory_classes
from voxray.store.write import ShardReport, write_shard_within

BLOCKS = 1000

Key = tuple[str, int]


def write_shards(path: AnyPath, root: AnyPath, keys: Sequence[Key]) -> Iterator[ShardReport]:
    """Write shards on the cluster, one task a shard; yields a report of each as it is finished.

    Voxels never travel between tasks: a task reads its scans and writes its shard. It looks at their headers first. A
    shard that wants more memory than its task was given is handed back, and goes to a task that has as much.

    Raises
    ------
    WorkError
        A task failed for good.
    """
    # Nodes without CPUs take no tasks; where there are no others yet, an autoscaler knows what it can start.
    room = max((int(node.get("memory", 0)) for node in node_resources() if node.get("CPU")), default=None)

    waiting = {at_most(TASK_BYTES, room): list(keys)} if keys else {}
    while waiting:
        needs: dict[Key, int] = {}
        for given, mine in waiting.items():
            work = partial(write_shard_within, path, root, given=given, room=room)
            for key, came in spread_shards(work, mine, given):
                if isinstance(came, ShardReport):
                    yield came
                else:
                    needs[key] = came
        waiting = memory_classes(needs, room)


def spread_shards(
    work: Callable[[str, int], ShardReport | int], keys: list[Key], memory_bytes: int
) -> Iterator[tuple[Key, ShardReport | int]]:
    """Do something for each shard in a task that has so much memory; yields what came of it, in any order."""
    configure_ray_data()

    def work_on(row: dict[str, Any]) -> dict[str, Any]:
        nothing = ShardReport(row["split"], row["shard"], 0, 0, 0, 0.0)
        try:
            came = work(row["split"], row["shard"])
        except VoxrayError as error:
            return {**asdict(nothing), "needed": 0, "error": failure_row(error)}
        if isinstance(came, ShardReport):
            return {**asdict(came), "needed": 0, "error": ""}
        return {**asdict(nothing), "needed": came, "error": ""}

    rows = [{"split": split, "shard": shard} for split, shard in keys]
    blocks = ray.data.from_items(rows, override_num_blocks=min(len(rows), BLOCKS))
    try:
        for row in blocks.map(work_on, num_cpus=1, memory=memory_bytes).iter_rows():
            raise_failure(row)
            needed, _ = row.pop("needed"), row.pop("error")
            yield (row["split"], row["shard"]), needed or ShardReport(**row)
    except ray.exceptions.RayError as error:
        raise WorkError("ingest", f"a task was lost: {type(error).__name__}", "The same command goes on") from error
