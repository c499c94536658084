"""From the parts of all shards to one index: the step that makes a store finished."""

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import QUARANTINE
from voxray.errors import DataError
from voxray.storage.paths import AnyPath, exists, matching
from voxray.store.checksum import CONSTANT
from voxray.store.layout import (
    INDEX,
    INDEX_FILE,
    PARTS_FOLDER,
    QUARANTINE_FILE,
    StoreInfo,
    add_note,
    read_parquet,
    write_parquet,
)
from voxray.store.write import forget_parts, index_part, quarantine_part, shard_keys, unfinished_shards

NOT_BROKEN = ("absent", "empty")  # kinds of what is missing, or left out by a setting


@dataclass(frozen=True)
class StoreSummary:
    """What a finished store holds."""

    patches: int
    rows: int
    quarantined_scans: int
    quarantined_samples: int


def finish_store(
    path: AnyPath, info: StoreInfo, rotations: tuple[int, ...], max_quarantined: float, *, published_split: bool = False
) -> StoreSummary:
    """Join the parts into ``index.parquet`` and ``quarantine.parquet``.

    Parameters
    ----------
    path : Place
    info : StoreInfo
    rotations : tuple of int
        Degrees by which each training positive is repeated, as further rows of the index.
    max_quarantined : float
        Share of the scans that may be set aside.
    published_split : bool
        Whether identical voxels in two splits become a note of the store instead of an error.

    Raises
    ------
    DataError
        Too many scans were set aside, or two splits hold the same voxels. The store stays unfinished.
    """
    missing = unfinished_shards(path, info)
    if missing:
        raise DataError(str(path), f"{len(missing)} shards are not written yet", "Run ingest again")
    keys = shard_keys(info)
    index = pa.concat_tables([read_parquet(index_part(path, *key)) for key in keys]).combine_chunks()
    # One look for all: in object storage each question takes its time.
    there = {part.name for part in matching(path / PARTS_FOLDER, "*.quarantine.parquet")}
    aside = [part for part in (quarantine_part(path, *key) for key in keys) if part.name in there]
    parts = [path / PARTS_FOLDER / QUARANTINE_FILE, *aside]
    quarantine = _one_row_each(pa.concat_tables([read_parquet(part, QUARANTINE) for part in parts]))
    _check_quarantine(path, info, index, quarantine, max_quarantined)
    leak = _describe_leak(index)
    if leak and not published_split:
        raise DataError(str(path), leak, "Give them one patient_id, or remove one of each")
    if leak:
        add_note(path, f"{leak}; kept, because published figures refer to this split")
    repeated = _with_rotations(index, rotations)
    write_parquet(quarantine, path / QUARANTINE_FILE)
    write_parquet(repeated, path / INDEX_FILE)
    forget_parts(path)
    scans = pc.sum(pc.equal(quarantine["kind"], "scan")).as_py() or 0
    samples = pc.sum(quarantine["samples"]).as_py() or 0
    return StoreSummary(index.num_rows, repeated.num_rows, scans, samples)


def _one_row_each(quarantine: pa.Table) -> pa.Table:
    """A scan that lies in several shards is set aside by each of them: one row, with the samples of all."""
    same = [name for name in QUARANTINE.names if name != "samples"]
    # Without threads the groups are in the order of their first rows.
    joined = quarantine.group_by(same, use_threads=False).aggregate([("samples", "sum")])
    return joined.rename_columns([*same, "samples"]).select(QUARANTINE.names).cast(QUARANTINE)


def _with_rotations(index: pa.Table, rotations: tuple[int, ...]) -> pa.Table:
    """Training positives once more for each rotation; sorted by split's order, slot, rotation."""
    positive = pc.and_(pc.equal(index["split"], "train"), pc.greater(index["label"], 0))
    column = index.column_names.index("rotation")
    copies = []
    for degrees in rotations:
        rows = index.filter(positive)
        copies.append(rows.set_column(column, INDEX.field("rotation"), pa.array([degrees] * rows.num_rows, pa.int16())))
    table = pa.concat_tables([index, *copies])
    # Splits keep the order of the plan: train, val, test.
    rank = pc.index_in(table["split"], value_set=pa.array(["train", "val", "test"]))
    order = table.append_column("rank", rank).sort_by(
        [("rank", "ascending"), ("slot", "ascending"), ("rotation", "ascending")]
    )
    return order.select(INDEX.names).combine_chunks()


def _check_quarantine(
    path: AnyPath, info: StoreInfo, index: pa.Table, quarantine: pa.Table, max_quarantined: float
) -> None:
    broken = pc.invert(pc.is_in(quarantine["kind"], value_set=pa.array(NOT_BROKEN)))
    read = quarantine.filter(pc.and_(broken, pc.greater(quarantine["samples"], 0)))
    # A scan is lost with its last sample, whether it cannot be read or every sample lies outside.
    gone = pc.unique(read["scan_id"].filter(pc.invert(pc.is_in(read["scan_id"], value_set=index["scan_id"]))))
    # Some are set aside before there is a plan.
    lost, empty = len(gone), quarantine.filter(pc.equal(quarantine["kind"], "empty"))
    scans = lost + len(pc.unique(index["scan_id"])) + len(pc.unique(empty["scan_id"]))
    if lost <= max_quarantined * scans and index.num_rows:
        return
    # Without a broken scan, all were left out for other reasons.
    unread = read.filter(pc.is_in(read["scan_id"], value_set=gone)) if lost else quarantine
    # These shards are tried again by the next run, when the scans have been mended.
    for key in shard_keys(info):
        if exists(quarantine_part(path, *key)):
            index_part(path, *key).unlink()
            quarantine_part(path, *key).unlink()
    reasons = "".join(f"\n  {row['reason']}" for row in unread.slice(0, 5).to_pylist())
    problem = f"{lost} of {scans} scans cannot be used, "
    problem += f"more than store.max_quarantined = {max_quarantined:g} allows" if lost else "yet no patch is left"
    raise DataError(str(path), f"{problem}:{reasons}\n", "Mend them or raise that share; the same command goes on")


def _describe_leak(index: pa.Table) -> str:
    """Which splits hold identical voxels, whatever name they go by; empty where none do."""
    for column in ("scan_checksum", "checksum"):
        known = index.filter(pc.invert(pc.starts_with(index[column], CONSTANT)))
        groups = known.group_by(column).aggregate([("split", "count_distinct")])
        shared = groups.filter(pc.greater(groups["split_count_distinct"], 1))[column].sort()
        if len(shared) == 0:
            continue
        rows = known.filter(pc.is_in(known[column], value_set=shared.slice(0, 1))).to_pylist()
        pair = sorted({(row["split"], row["path"]) for row in rows})
        names = " and ".join(f"{scan} ({split})" for split, scan in pair[:2])
        return f"identical voxels in two splits: {names}, and {len(shared) - 1} more such groups"
    return ""
