"""Join the parts of all shards into one index: the step that finishes a store."""

from dataclasses import dataclass, replace
from operator import itemgetter

import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import QUARANTINE
from voxray.errors import DataError
from voxray.patches.balance import SPLITS
from voxray.storage.paths import AnyPath
from voxray.store.checksum import CONSTANT
from voxray.store.layout import INDEX, INDEX_FILE, PARTS_FOLDER, QUARANTINE_FILE, REINGEST, StoreInfo
from voxray.store.metadata import write_metadata
from voxray.store.parts import Key, forget_parts, forget_shards, read_parts, shard_keys, unfinished_shards
from voxray.store.tables import joined_digest, read_table, write_table

USABLE = ("absent", "empty")  # kinds of scans that do not exist, or that a setting leaves out: nothing is wrong


@dataclass(frozen=True)
class StoreSummary:
    """What a finished store holds."""

    patches: int
    rows: int  # of the index, which repeat some patches rotated
    quarantined_scans: int
    quarantined_samples: int


def finish_store(
    path: AnyPath, info: StoreInfo, rotations: tuple[int, ...], max_quarantined: float, *, published_split: bool = False
) -> StoreSummary:
    """Join the parts into ``index.parquet`` and ``quarantine.parquet``.

    Parameters
    ----------
    rotations : tuple of int
        Degrees by which each positive of the training split is repeated, as further rows of the index.
    max_quarantined : float
        Share of the scans that may be quarantined.
    published_split : bool
        Whether identical voxels in two splits become a note of the store instead of an error.

    Raises
    ------
    DataError
        Too many scans are quarantined, or two splits hold the same voxels. The store stays unfinished.
    """
    if missing := unfinished_shards(path, info):
        raise DataError(str(path), f"{len(missing)} shards are not written yet", REINGEST)
    index, quarantine, incomplete = _read_parts(path, info)
    _check_quarantine(path, index, quarantine, incomplete, max_quarantined)
    leak = _describe_leak(index)
    if leak and not published_split:
        raise DataError(str(path), leak, "Give them one patient_id, or remove one of each")
    if leak:
        note = f"{leak}; kept, because published results refer to this split"
        write_metadata(path, replace(info, notes=tuple(dict.fromkeys([*info.notes, note]))))
    rotated = _with_rotations(index, rotations)
    write_table(quarantine, path / QUARANTINE_FILE, joined_digest(info.digest, rotated))
    write_table(rotated, path / INDEX_FILE, info.digest)
    forget_parts(path)
    scans = pc.sum(pc.equal(quarantine["kind"], "scan")).as_py() or 0
    samples = pc.sum(quarantine["samples"]).as_py() or 0
    return StoreSummary(index.num_rows, rotated.num_rows, scans, samples)


def _read_parts(path: AnyPath, info: StoreInfo) -> tuple[pa.Table, pa.Table, list[Key]]:
    """Index and quarantine of all shards, and the shards that have rows of the quarantine."""
    keys = shard_keys(info)
    parts = read_parts(path, info, keys)
    index = pa.concat_tables([rows for rows, _ in parts]).combine_chunks()
    incomplete = [key for key, (_, lost) in zip(keys, parts, strict=True) if lost.num_rows]
    listed = read_table(path / PARTS_FOLDER / QUARANTINE_FILE, QUARANTINE, info.digest)
    tables = [listed, *(lost for _, lost in parts)]
    # Each shard of a scan may have quarantined it: one row, with the samples of all. Without threads the groups are in
    # the order of their first rows.
    columns = [name for name in QUARANTINE.names if name != "samples"]
    joined = pa.concat_tables(tables).group_by(columns, use_threads=False).aggregate([("samples", "sum")])
    joined = joined.rename_columns([*columns, "samples"]).select(QUARANTINE.names).cast(QUARANTINE)
    return index, joined, incomplete


def _with_rotations(index: pa.Table, rotations: tuple[int, ...]) -> pa.Table:
    """Repeat the positives of the training split for each rotation; sorted by split, slot and rotation."""
    positives = index.filter(pc.and_(pc.equal(index["split"], "train"), pc.greater(index["label"], 0)))
    column, field = index.column_names.index("rotation"), INDEX.field("rotation")
    copies = [
        positives.set_column(column, field, pa.array([degrees] * positives.num_rows, pa.int16()))
        for degrees in rotations
    ]
    table = pa.concat_tables([index, *copies])
    table = table.append_column("order", pc.index_in(table["split"], value_set=pa.array(SPLITS)))
    keys = [(name, "ascending") for name in ("order", "slot", "rotation")]
    return table.sort_by(keys).select(INDEX.names).combine_chunks()


def _check_quarantine(
    path: AnyPath, index: pa.Table, quarantine: pa.Table, incomplete: list[Key], max_quarantined: float
) -> None:
    """Raise DataError where too many scans are lost; the next run writes their shards again."""
    failed = pc.invert(pc.is_in(quarantine["kind"], value_set=pa.array(USABLE)))
    # Some are quarantined before there is a plan, without samples.
    planned = quarantine.filter(pc.and_(failed, pc.greater(quarantine["samples"], 0)))
    # A scan is lost with its last sample, whether it cannot be read or every sample lies outside.
    lost = pc.unique(planned["scan_id"].filter(pc.invert(pc.is_in(planned["scan_id"], value_set=index["scan_id"]))))
    empty = quarantine.filter(pc.equal(quarantine["kind"], "empty"))
    scans = len(lost) + len(pc.unique(index["scan_id"])) + len(pc.unique(empty["scan_id"]))
    if len(lost) <= max_quarantined * scans and index.num_rows:
        return
    forget_shards(path, incomplete)
    # If no scan is lost, all of them are absent or empty.
    rows = planned.filter(pc.is_in(planned["scan_id"], value_set=lost)) if len(lost) else quarantine
    reasons = "".join(f"\n  {row['reason']}" for row in rows.slice(0, 5).to_pylist())
    limit = f"more than store.max_quarantined = {max_quarantined:g} allows" if len(lost) else "yet no patch is left"
    remedy = "Repair them or raise store.max_quarantined, then re-run the same command to resume"
    raise DataError(str(path), f"{len(lost)} of {scans} scans cannot be used, {limit}:{reasons}\n", remedy)


def _describe_leak(index: pa.Table) -> str:
    """Which splits hold identical voxels, whatever their names; empty where none do."""
    for column in ("scan_checksum", "checksum"):
        varied = index.filter(pc.invert(pc.starts_with(index[column], CONSTANT)))
        groups = varied.group_by(column).aggregate([("split", "count_distinct")])
        shared = groups.filter(pc.greater(groups["split_count_distinct"], 1))[column].sort()
        if len(shared):
            rows = varied.filter(pc.is_in(varied[column], value_set=shared.slice(0, 1))).to_pylist()
            # One scan of each split: a split may hold several of them.
            scans = {row["split"]: row["path"] for row in sorted(rows, key=itemgetter("path"), reverse=True)}
            names = " and ".join(f"{scans[split]} ({split})" for split in SPLITS if split in scans)
            return f"identical voxels in two splits: {names}, and {len(shared) - 1} more such groups"
    return ""
