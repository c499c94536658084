"""Cut scans again and digest their patches, to compare them with those of a store."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.errors import StoreError
from voxray.storage.paths import AnyPath
from voxray.store.layout import StoreInfo
from voxray.store.metadata import read_info
from voxray.store.rows import Row, cut_scan

MOST_CHUNKS = 1000
EXACT = (
    *("split", "slot", "checksum", "scan_checksum"),
    *(f"{axis}_{bound}" for bound in ("start", "extent") for axis in "xyz"),
)
DIGESTS = pa.schema([("scan_id", pa.string()), ("digest", pa.string())])


def chunk_scans(rows: pa.Table) -> list[pa.Table]:
    """Rows of a plan in chunks of one task each: a scan, or several where there are very many."""
    ordered, starts = _ordered(rows)
    step = max(1, -(-(len(starts) - 1) // MOST_CHUNKS))
    bounds = [*starts[:-1:step], starts[-1]]
    return [ordered.slice(start, end - start) for start, end in pairwise(bounds)]


def cut_digests(path: AnyPath, root: AnyPath, rows: pa.Table) -> pa.Table:
    """Cut the patches of some rows of the plan again, from the scans below `root`; nothing is written.

    Returns
    -------
    pyarrow.Table
        Schema DIGESTS: what `digests` gives for the rows that the index of the store at `path` would have.
    """
    info = read_info(path)
    if info is None:
        raise StoreError(str(path), "the store was removed while scans were compared", "Run voxray ingest again")
    names = [(name, patches_digest(_cut(root, scan, info))) for name, scan in _by_scan(rows)]
    return pa.Table.from_pylist([dict(zip(DIGESTS.names, row, strict=True)) for row in names], schema=DIGESTS)


def cut_here(path: AnyPath, root: AnyPath, chunks: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """What `cut_digests` gives for each chunk, in this process."""
    return (cut_digests(path, root, chunk) for chunk in chunks)


def digests(index: pa.Table) -> dict[str, str]:
    """The digest of the patches of each scan, from rows of the index; rotations do not count."""
    return {name: patches_digest(scan) for name, scan in _by_scan(index.filter(pc.equal(index["rotation"], 0)))}


def patches_digest(rows: Iterable[Mapping[str, Any]]) -> str:
    """A digest of all that the index says about the voxels and the place of a scan's patches."""
    lines = sorted(
        (*(row[name] for name in EXACT), *(f"{row[f'{axis}_mm']:.3f}" for axis in "xyz"), _rounded(row["statistics"]))
        for row in rows
    )
    return hashlib.sha256(repr(lines).encode()).hexdigest()[:16]


def _cut(root: AnyPath, rows: list[Row], info: StoreInfo) -> list[Row]:
    """The rows of the index of a scan's patches; those that would be quarantined have none."""
    return [row for row, _ in cut_scan(root, rows, info)[0]]


def _by_scan(rows: pa.Table) -> Iterator[tuple[str, list[Row]]]:
    """Each scan with its rows; only those of one scan are Python objects at a time."""
    ordered, starts = _ordered(rows)
    for start, end in pairwise(starts):
        scan = ordered.slice(start, end - start).to_pylist()
        yield scan[0]["scan_id"], scan


def _ordered(rows: pa.Table) -> tuple[pa.Table, list[int]]:
    """Rows sorted by scan and slot, the first row of each scan, and the number of rows."""
    ordered = rows.sort_by([("scan_id", "ascending"), ("slot", "ascending")]).combine_chunks()
    if ordered.num_rows == 0:
        return ordered, [0]
    names = ordered["scan_id"]
    begins = np.flatnonzero(pc.not_equal(names[1:], names[:-1]).to_numpy()) + 1
    return ordered, [0, *begins.tolist(), ordered.num_rows]


def _rounded(statistics: list[list[float]] | None) -> str:
    """Sums over a whole scan may differ in their last digits between machines."""
    return str([[f"{value:.6g}" for value in values] for values in statistics or []])
