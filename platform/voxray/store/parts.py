"""``parts/`` of an unfinished store: the plan, and a file for each shard that is written."""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from voxray.datasets.manifest import QUARANTINE
from voxray.errors import StoreError, VoxrayError
from voxray.patches.plan import PLAN, Plan
from voxray.storage.atomic import atomic_write, remove_unfinished
from voxray.storage.paths import AnyPath, matching, remove_folder, stays_below, storage_errors
from voxray.store.layout import INDEX, INDEX_FILE, PARTS_FOLDER, PLAN_FILE, REINGEST, StoreInfo
from voxray.store.rows import Row
from voxray.store.tables import DIGEST, read_table, write_table

# The rows of the index and of the quarantine are one file, so that neither is ever without the other.
PART = pa.schema([*INDEX, *(QUARANTINE.field(name) for name in ("kind", "samples", "reason"))])
PARTS = "[!.]*-*.parquet"
THREADS = 16  # for parts, which object storage delivers slowly

Key = tuple[str, int]  # split and number of a shard


def shard_keys(info: StoreInfo) -> list[Key]:
    """All (split, shard) of a store, in the order of the plan's row groups."""
    return [(split, shard) for split, count in info.shards.items() for shard in range(count)]


def part_file(path: AnyPath, split: str, shard: int) -> AnyPath:
    """The file that marks a shard as finished: its rows of the index and of the quarantine."""
    return path / PARTS_FOLDER / f"{split}-{shard:06d}.parquet"


def unfinished_shards(path: AnyPath, info: StoreInfo) -> list[Key]:
    """The (split, shard) without a part file, which is written last."""
    done = {part.name for part in matching(path / PARTS_FOLDER, PARTS)}
    return [key for key in shard_keys(info) if part_file(path, *key).name not in done]


def write_part(path: AnyPath, info: StoreInfo, key: Key, index: pa.Table, quarantine: pa.Table) -> None:
    """Mark a shard as finished, with its rows of the index, of which none is rotated, and of the quarantine."""
    table = pa.concat_tables([PART.empty_table(), index, quarantine], promote_options="default")
    write_table(table, part_file(path, *key), info.digest)


def read_part(path: AnyPath, info: StoreInfo, key: Key) -> tuple[pa.Table, pa.Table]:
    """The rows of a shard: those of the index, and those of the quarantine.

    Raises
    ------
    StoreError
        The part is missing or damaged, or belongs to another store.
    """
    table = read_table(part_file(path, *key), PART, info.digest)
    is_index = pc.is_null(table["kind"])
    return table.filter(is_index).select(INDEX.names), table.filter(pc.invert(is_index)).select(QUARANTINE.names)


def read_parts(path: AnyPath, info: StoreInfo, keys: Iterable[Key]) -> list[tuple[pa.Table, pa.Table]]:
    """`read_part` for many shards at once."""
    with ThreadPoolExecutor(THREADS) as threads:
        return list(threads.map(lambda key: read_part(path, info, key), keys))


def forget_shards(path: AnyPath, keys: Iterable[Key]) -> None:
    """Remove the parts of shards, which the next ingest writes again."""
    for key in keys:
        with storage_errors(path):
            part_file(path, *key).unlink(missing_ok=True)


def forget_damaged_parts(path: AnyPath, info: StoreInfo) -> list[Key]:
    """Remove the parts that cannot be read; the shards that they belong to."""

    def is_damaged(key: Key) -> bool:
        try:
            read_part(path, info, key)
        except StoreError:
            return True
        return False

    waiting = set(unfinished_shards(path, info))
    keys = [key for key in shard_keys(info) if key not in waiting]
    with ThreadPoolExecutor(THREADS) as threads:
        damaged = [key for key, is_bad in zip(keys, threads.map(is_damaged, keys), strict=True) if is_bad]
    forget_shards(path, damaged)
    return damaged


def forget_parts(path: AnyPath) -> None:
    """Remove what only an unfinished store needs, and what killed tasks left half-written."""
    remove_folder(path / PARTS_FOLDER)
    remove_unfinished(path)


def write_plan(path: AnyPath, plan: Plan) -> None:
    """Write the plan of the store at `path`; one row group for each shard, so that a task reads its own rows only."""
    schema = PLAN.with_metadata({DIGEST: plan.digest})
    with (
        atomic_write(path / PARTS_FOLDER / PLAN_FILE) as unfinished,
        pq.ParquetWriter(unfinished, schema, write_page_checksum=True) as writer,
    ):
        for group in plan_groups(plan):
            writer.write_table(group.cast(PLAN), row_group_size=max(1, group.num_rows))


def plan_groups(plan: Plan) -> Iterator[pa.Table]:
    """The rows of each shard, in the order of `shard_keys`."""
    for split, count in plan.shards.items():
        rows = plan.table.filter(pc.equal(plan.table["split"], split))
        bounds = np.searchsorted(rows["shard"].to_numpy(), np.arange(count + 1))
        for start, end in pairwise(bounds):
            yield rows.slice(start, end - start)


def read_planned(path: AnyPath, info: StoreInfo, key: Key) -> list[Row]:
    """The rows of the plan for one shard.

    Raises
    ------
    StoreError
        The plan is missing or damaged, or names a scan outside of the data set's root.
    """
    file = path / PARTS_FOLDER / PLAN_FILE
    try:
        with storage_errors(path), file.open("rb") as content:
            plan = pq.ParquetFile(content, page_checksum_verification=True)
            if (plan.schema_arrow.metadata or {}).get(DIGEST) == info.digest.encode():
                return _inside(file, plan.read_row_group(shard_keys(info).index(key)).to_pylist())
    except VoxrayError:
        raise
    except Exception as error:  # noqa: BLE001  a damaged file makes Arrow raise nearly anything
        raise StoreError(str(file), f"cannot be read: {error}", REINGEST) from None
    raise StoreError(str(file), "belongs to another store", REINGEST)


def _inside(file: AnyPath, rows: list[Row]) -> list[Row]:
    """The same rows of a plan; StoreError where one names a scan outside of the data set's root."""
    for path in {row[column]: None for row in rows for column in ("path", "label_path")}:
        if path is not None and not stays_below(path):
            problem = f"names a scan outside of data.root, got {path!r:.200}"
            raise StoreError(str(file), problem, "Ingest the scans into another store.path")
    return rows


def stored_digest(path: AnyPath) -> str | None:
    """The digest of the store that the index or the plan at `path` belongs to, whether or not the root can be read."""
    for file in (path / INDEX_FILE, path / PARTS_FOLDER / PLAN_FILE):
        with suppress(Exception), file.open("rb") as content:
            return str(pq.read_schema(content).metadata[DIGEST], "ascii")
    return None
