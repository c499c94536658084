"""Find the shards of a store that are missing or damaged, and have them written again."""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import Manifest
from voxray.errors import StoreError
from voxray.patches.plan import Plan
from voxray.storage.paths import AnyPath, exists
from voxray.store.layout import INDEX, INDEX_FILE, StoreInfo
from voxray.store.parts import Key, forget_shards, read_part, shard_keys, unfinished_shards
from voxray.store.read import check_shard, open_shards
from voxray.store.reopen import reopen_store
from voxray.store.tables import read_table


def check_shards(path: AnyPath, info: StoreInfo) -> Iterator[tuple[Key, str]]:
    """Read every shard that was written and compare its patches with their checksums; the store need not be finished.

    Yields
    ------
    (split, shard), str
        What is wrong with the shard; empty where nothing is.
    """
    for key, rows in _written(path, info):
        split, shard = key
        try:
            check_shard(open_shards(path, info, split, [shard]), rows)
        except StoreError as error:
            yield key, f"{error.where}: {error.problem}"
        else:
            yield key, ""


def forget(path: AnyPath, info: StoreInfo, plan: Plan, manifest: Manifest, keys: Collection[Key]) -> None:
    """Make shards count as not written, so that ingest writes them again; a finished store is then unfinished."""
    if exists(path / INDEX_FILE):
        reopen_store(path, info, plan, manifest, keys)
    else:
        forget_shards(path, keys)


def _written(path: AnyPath, info: StoreInfo) -> Iterator[tuple[Key, pa.Table]]:
    """Each shard that was written, with its rows of the index, of which none is rotated."""
    if not exists(path / INDEX_FILE):
        waiting = set(unfinished_shards(path, info))
        yield from ((key, read_part(path, info, key)[0]) for key in shard_keys(info) if key not in waiting)
        return
    index = read_table(path / INDEX_FILE, INDEX, info.digest)
    index = index.filter(pc.equal(index["rotation"], 0))
    for split, count in info.shards.items():
        rows = index.filter(pc.equal(index["split"], split))
        for shard in range(count):
            yield (split, shard), rows.filter(pc.equal(rows["shard"], shard))
