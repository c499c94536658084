"""Patches of a finished store that are almost the same as one of another split."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.inspection.near_duplicates import find_near_duplicates
from voxray.inspection.signatures import Signature, signature
from voxray.patches.balance import SPLITS
from voxray.store.read import PatchStore
from voxray.store.sharded import ShardedArray


def describe_patch_duplicates(store: PatchStore) -> str:
    """How many patches of the later splits are almost the same as one of an earlier split, in words; empty for none.

    The same voxels, which a published split may hold twice, are a note of the store already.
    """
    rows, signatures = [], []
    for row, small in _signatures(store):
        rows.append(row)
        signatures.append(small)
    groups = np.array([SPLITS.index(row["split"]) for row in rows], np.int64)
    pairs = [
        pair
        for pair in find_near_duplicates(signatures, groups)
        if rows[pair.first]["checksum"] != rows[pair.second]["checksum"]
    ]
    if not pairs:
        return ""
    by_split = [sorted(pair[:2], key=lambda number: groups[number]) for pair in pairs]
    first, second = (f"{rows[number]['path']} ({rows[number]['split']})" for number in by_split[0])
    affected, evaluated = len({later for _, later in by_split}), int(np.count_nonzero(groups))
    return (
        f"{affected:,} of {evaluated:,} patches of {' and '.join(SPLITS[1:])} look almost the same as a patch of "
        f"another split, first {first} and {second}, whose details correlate by {pairs[0].correlation:.2f}"
    )


def _signatures(store: PatchStore) -> Iterator[tuple[dict[str, Any], Signature]]:
    """Each patch that can be recognized: split, path and checksum, and its signature."""
    for split, shards in store.info.shards.items():
        table = store.rows(split)
        table = table.filter(pc.equal(table["rotation"], 0)).select(["split", "shard", "slot", "path", "checksum"])
        images = store.arrays(split)[0]
        for shard in range(shards):
            yield from _of_shard(images, table.filter(pc.equal(table["shard"], shard)))


def _of_shard(images: ShardedArray, table: pa.Table) -> Iterator[tuple[dict[str, Any], Signature]]:
    if not table.num_rows:
        return
    slots = table["slot"].to_numpy()
    patches = images.read(int(slots.min()), int(slots.max()) + 1)
    for row in table.to_pylist():
        small = signature(patches[row["slot"] - slots.min()])
        if small is not None:
            yield row, small
