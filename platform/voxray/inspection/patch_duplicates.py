"""Patches of a finished store that are almost the same as one of another split."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pydantic import TypeAdapter, ValidationError

from voxray.inspection.near_duplicates import find_near_duplicates
from voxray.inspection.signatures import Signature, signature
from voxray.patches.balance import SPLITS
from voxray.storage.atomic import write_json
from voxray.storage.paths import AnyPath, exists, read_bytes
from voxray.store.read import PatchStore
from voxray.store.sharded import ShardedArray

MOST_PAIRS = 12  # that are kept


@dataclass(frozen=True)
class PatchPair:
    """Two patches that are almost the same, the first of the earlier split: split and slot of each."""

    first: tuple[str, int]
    second: tuple[str, int]
    correlation: float  # of their details


@dataclass(frozen=True)
class PatchDuplicates:
    """Patches of the later splits that are almost the same as one of an earlier split.

    Attributes
    ----------
    content : str
        The store's `content_digest`.
    affected, evaluated : int
        How many patches of the later splits look almost the same as one of an earlier split, and how many there are
        that can be recognized.
    pairs : tuple of PatchPair
        The first, those most alike first.
    """

    content: str
    affected: int
    evaluated: int
    pairs: tuple[PatchPair, ...]

    @property
    def text(self) -> str:
        """The numbers in words."""
        patches, alike = f"of {' and '.join(SPLITS[1:])}", "almost the same as a patch of another split"
        if not self.affected:
            return f"no patch {patches} looks {alike}"
        return f"{self.affected:,} of {self.evaluated:,} patches {patches} look {alike}"


FOUND = TypeAdapter(PatchDuplicates)


def find_patch_duplicates(store: PatchStore) -> PatchDuplicates:
    """Compare all patches of a store with those of other splits.

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
    by_split = [sorted((pair.first, pair.second), key=lambda number: groups[number]) for pair in pairs]
    places = [(row["split"], row["slot"]) for row in rows]
    kept = [
        PatchPair(places[first], places[second], pair.correlation)
        for (first, second), pair in zip(by_split[:MOST_PAIRS], pairs[:MOST_PAIRS], strict=True)
    ]
    affected, evaluated = len({second for _, second in by_split}), int(np.count_nonzero(groups))
    return PatchDuplicates(store.content_digest, affected, evaluated, tuple(kept))


def write_patch_duplicates(path: AnyPath, found: PatchDuplicates) -> None:
    """Write a JSON file."""
    write_json(path, asdict(found))


def read_patch_duplicates(path: AnyPath, store: PatchStore) -> PatchDuplicates | None:
    """What was found in this store; None where that is not known, or of other patches."""
    try:
        found = FOUND.validate_json(read_bytes(path)) if exists(path) else None
    except ValidationError:
        return None
    return found if found is not None and found.content == store.content_digest else None


def patch_row(store: PatchStore, place: tuple[str, int]) -> dict[str, Any]:
    """The row of the index of a patch, by its split and slot."""
    split, slot = place
    rows = store.rows(split)
    row: dict[str, Any] = rows.filter(pc.equal(rows["slot"], slot)).slice(0, 1).to_pylist()[0]
    return row


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
