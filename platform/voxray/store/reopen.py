"""Turn a finished store back into an unfinished one, of which only some shards are written again."""

from collections.abc import Collection, Iterator

import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import QUARANTINE, Manifest
from voxray.errors import StoreError
from voxray.patches.plan import Plan
from voxray.storage.paths import AnyPath, storage_errors
from voxray.store.layout import INDEX, INDEX_FILE, PARTS_FOLDER, QUARANTINE_FILE, StoreInfo
from voxray.store.parts import Key, plan_groups, shard_keys, write_part, write_plan
from voxray.store.tables import joined_digest, read_table, write_table


def reopen_store(path: AnyPath, info: StoreInfo, plan: Plan, manifest: Manifest, keys: Collection[Key]) -> None:
    """Make the parts of a finished store again, but for those of some shards, and then remove its index.

    Ingest then writes these shards and finishes the store, as if they had never been written. If this is interrupted,
    the store is still finished.

    Parameters
    ----------
    path : path
    info : StoreInfo
    plan : Plan
    manifest : Manifest
        What the store was made from.
    keys : collection of (split, shard)
        The shards to write again. Those whose rows of the quarantine are not known are written again too.

    Raises
    ------
    StoreError
        The index is damaged.
    """
    index = read_table(path / INDEX_FILE, INDEX, info.digest)
    quarantine = _read_quarantine(path, joined_digest(info.digest, index), manifest)
    index = index.filter(pc.equal(index["rotation"], 0))
    write_plan(path, plan)
    write_table(manifest.quarantine, path / PARTS_FOLDER / QUARANTINE_FILE, info.digest)
    for key, rows, lost in _parts(info, plan, index, quarantine):
        if key not in keys and lost is not None:
            write_part(path, info, key, rows, lost)
    with storage_errors(path):
        (path / INDEX_FILE).unlink()


def _parts(
    info: StoreInfo, plan: Plan, index: pa.Table, quarantine: pa.Table | None
) -> Iterator[tuple[Key, pa.Table, pa.Table | None]]:
    """Each shard with its rows of the index and of the quarantine; None where the latter are not known."""
    groups = list(plan_groups(plan))
    scans = [pc.unique(group["scan_id"]).cast(pa.string()) for group in groups]
    several = _repeated(scans)
    start = 0
    for key, group, names in zip(shard_keys(info), groups, scans, strict=True):
        split, shard = key
        rows = index.slice(start, group.num_rows)
        rows = rows.filter(pc.and_(pc.equal(rows["split"], split), pc.equal(rows["shard"], shard)))
        start += rows.num_rows
        lost = None
        if rows.num_rows == group.num_rows:
            lost = QUARANTINE.empty_table()
        elif quarantine is not None:
            lost = quarantine.filter(pc.is_in(quarantine["scan_id"], value_set=names))
            # The rows of a scan that fills more than one shard are joined.
            if pc.any(pc.is_in(lost["scan_id"], value_set=several)).as_py():
                lost = None
        yield key, rows, lost


def _repeated(scans: list[pa.Array]) -> pa.Array:
    """Scans of more than one shard."""
    counts = pc.value_counts(pa.concat_arrays([*scans, pa.array([], pa.string())]))
    return counts.field("values").filter(pc.greater(counts.field("counts"), 1))


def _read_quarantine(path: AnyPath, digest: str, manifest: Manifest) -> pa.Table | None:
    """Rows of the quarantine that come from shards, not from the lists of the data set; None if they cannot be read."""
    try:
        table = read_table(path / QUARANTINE_FILE, QUARANTINE, digest)
    except StoreError:
        return None
    listed = {tuple(row.values()) for row in manifest.quarantine.select(QUARANTINE.names).to_pylist()}
    return table.filter(pa.array([tuple(row.values()) not in listed for row in table.to_pylist()], pa.bool_()))
