"""What is wrong among the facts of all scans, and in the lists that they come from."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import shared_patients
from voxray.inspection.kinds import ERROR, KINDS
from voxray.inspection.outliers import find_outliers
from voxray.inspection.target import InspectionTarget
from voxray.store.checksum import CONSTANT

FINDINGS = pa.schema(
    [
        ("kind", pa.string()),  # a key of KINDS
        ("severity", pa.string()),
        ("number", pa.int64()),  # of the scan; null where a finding is of several or of none
        ("scan_id", pa.string()),
        ("path", pa.string()),
        ("detail", pa.string()),
        ("score", pa.float64()),  # the higher the worse; null where one is as bad as the other
    ]
)
NAMED = 3  # of what a finding is about, where there may be many

Row = dict[str, Any]


def find_all(target: InspectionTarget, scan_stats: pa.Table) -> pa.Table:
    """Everything that is wrong or deserves a look.

    Parameters
    ----------
    subject : Subject
    facts : pyarrow.Table
        Schema FACTS, in the order of the subject's targets.

    Returns
    -------
    pyarrow.Table
        Schema FINDINGS; in the order of KINDS, errors first, and the worst of a kind first.
    """
    rows = [
        *({"kind": "plan", "detail": problem} for problem in target.plan_problems),
        *_patients(target),
        *_same_voxels(scan_stats, target.manifest.published_split),
        *_own_problems(scan_stats),
        *_listed(target),
        *_channels(target, scan_stats),
        *_outside(target, scan_stats),
        *_unseen(target, scan_stats),
        *find_outliers(scan_stats),
    ]
    return _table(rows, scan_stats)


def count_kinds(findings: pa.Table) -> dict[str, int]:
    """How many findings there are of each kind, in the order of KINDS."""
    counts = Counter(findings["kind"].to_pylist())
    return {kind: counts[kind] for kind in KINDS if kind in counts}


def count_errors(findings: pa.Table) -> int:
    """How many findings are errors."""
    return int(pc.sum(pc.equal(findings["severity"], ERROR)).as_py() or 0)


def _table(rows: list[Row], scan_stats: pa.Table) -> pa.Table:
    ids, paths = scan_stats["scan_id"].to_pylist(), scan_stats["path"].to_pylist()
    order = {kind: place for place, kind in enumerate(KINDS)}
    filled = []
    for row in rows:
        number = row.get("number")
        own = {} if number is None else {"scan_id": ids[number], "path": paths[number]}
        filled.append({"score": None, **own, **row, "severity": KINDS[row["kind"]].severity})
    filled.sort(key=lambda row: (order[row["kind"]], -(row["score"] or 0), row.get("number") or 0))
    return pa.Table.from_pylist(filled, schema=FINDINGS)


def _patients(target: InspectionTarget) -> Iterator[Row]:
    for patient, splits in shared_patients(target.manifest.scans).items():
        mine = pc.equal(target.manifest.scans["patient_id"], patient)
        count = int(pc.sum(mine).as_py())
        yield {"kind": "patient", "detail": f"patient {patient} has {count} scans, in {' and '.join(splits)}"}


def _same_voxels(scan_stats: pa.Table, published_split: bool) -> Iterator[Row]:
    known = scan_stats.filter(
        pc.and_(pc.is_valid(scan_stats["checksum"]), pc.invert(pc.starts_with(scan_stats["checksum"], CONSTANT)))
    )
    names = ["checksum", "channels", "dtype", "x_extent", "y_extent", "z_extent"]
    groups = known.group_by(names).aggregate([("number", "list"), ("number", "count")])
    for numbers in groups.filter(pc.greater(groups["number_count"], 1))["number_list"].to_pylist():
        rows = scan_stats.take(sorted(numbers)).to_pylist()
        yield {
            "kind": _kind_of_same(rows, published_split),
            "number": rows[0]["number"],
            "detail": f"same voxels as {_named([_described(row) for row in rows[1:]])}",
        }


def _kind_of_same(rows: list[Row], published_split: bool) -> str:
    if len({row["label"] for row in rows}) > 1:
        return "contradiction"
    splits, patients = {row["split"] for row in rows}, {row["patient_id"] for row in rows}
    # Without splits yet, patients will be dealt to them one by one.
    apart = len(splits) > 1 or (splits == {None} and len(patients) > 1)
    return "leak" if apart and not published_split else "twin"


def _described(row: Row) -> str:
    known = [str(row[key]) for key in ("label", "split") if row[key] is not None]
    return f"{row['path']} ({', '.join(known)})" if known else str(row["path"])


def _named(names: list[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more


def _own_problems(scan_stats: pa.Table) -> Iterator[Row]:
    some = scan_stats.filter(pc.greater(pc.list_value_length(scan_stats["problems"]), 0)).select(["number", "problems"])
    for row in some.to_pylist():
        for problem in row["problems"]:
            yield {"kind": problem["kind"], "number": row["number"], "detail": problem["detail"]}


def _listed(target: InspectionTarget) -> Iterator[Row]:
    for row in target.manifest.quarantine.to_pylist():
        lost = row["samples"] > 0
        kind = "absent" if row["kind"] == "absent" else "listed" if lost else "unlisted"
        # The name stands beside it.
        reason = row["reason"].removeprefix(str(row["path"])).removeprefix(":").strip()
        yield {"kind": kind, "scan_id": row["scan_id"], "path": row["path"], "detail": reason}


def _channels(target: InspectionTarget, scan_stats: pa.Table) -> Iterator[Row]:
    counts = Counter(scan_stats["channels"].drop_null().to_pylist())
    if not counts:
        return
    wanted = len(target.manifest.channels) or counts.most_common(1)[0][0]
    whose = "the data set names" if target.manifest.channels else "most scans have"
    odd = scan_stats.filter(pc.fill_null(pc.not_equal(scan_stats["channels"], wanted), False))
    for row in odd.select(["number", "channels"]).to_pylist():
        yield {
            "kind": "channels",
            "number": row["number"],
            "detail": f"has {row['channels']}, {whose} {wanted}",
        }


def _outside(target: InspectionTarget, scan_stats: pa.Table) -> Iterator[Row]:
    """One finding for each scan with samples whose center is not in it."""
    samples = target.manifest.samples.filter(pc.is_valid(target.manifest.samples["x_mm"]))
    known = scan_stats.filter(pc.is_valid(scan_stats["affine"]))
    place = pc.index_in(samples["scan_id"], value_set=known["scan_id"].combine_chunks())
    samples = samples.append_column("place", place).filter(pc.is_valid(place))
    if samples.num_rows == 0:
        return
    places = np.asarray(samples["place"].to_numpy())
    inverses = np.linalg.inv(np.asarray(known["affine"].combine_chunks().flatten()).reshape(-1, 4, 4))
    points = np.stack([samples[name].to_numpy() for name in ("x_mm", "y_mm", "z_mm")], axis=1)
    voxels = np.einsum("nij,nj->ni", inverses[places, :3, :3], points) + inverses[places, :3, 3]
    extents = np.stack([known[f"{axis}_extent"].to_numpy() for axis in "xyz"], axis=1)
    lost = np.flatnonzero(((voxels < -0.5) | (voxels > extents[places] - 0.5)).any(axis=1))
    found, first, counts = np.unique(places[lost], return_index=True, return_counts=True)
    everything = np.bincount(places, minlength=known.num_rows)
    numbers = known["number"].to_numpy()
    for scan, row, count in zip(found, lost[first], counts, strict=True):
        at = ", ".join(f"{value:.1f}" for value in voxels[row])
        which = f"{count:,} of its {everything[scan]:,} samples"
        detail = f"{which}, the first at voxel ({at}) of {'×'.join(map(str, extents[scan]))}"
        yield {"kind": "outside", "number": int(numbers[scan]), "detail": detail, "score": float(count)}


def _unseen(target: InspectionTarget, scan_stats: pa.Table) -> Iterator[Row]:
    """Classes that no mask has, where masks were read."""
    counts = [row for row in scan_stats["mask_voxels"].to_pylist() if row]
    if not counts:
        return
    seen = np.sum(counts, axis=0)
    for label, name in enumerate(target.mask_classes):
        if seen[label] == 0:
            yield {"kind": "unseen", "detail": f"no mask has a voxel of {label} {name}"}
