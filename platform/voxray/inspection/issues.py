"""The issues of a data set: in the statistics of its scans, and in the lists that name them."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import class_notes, shared_patients
from voxray.inspection.kinds import KINDS
from voxray.inspection.near_duplicates import NearPair, find_near_duplicates
from voxray.inspection.outliers import axis_columns, find_outliers
from voxray.inspection.target import InspectionTarget
from voxray.patches.balance import SPLITS
from voxray.store.checksum import CONSTANT

ISSUES = pa.schema(
    [
        ("kind", pa.string()),  # a key of KINDS
        ("severity", pa.string()),
        ("number", pa.int64()),  # of the scan; null where an issue concerns several or none
        ("scan_id", pa.string()),
        ("path", pa.string()),
        ("other", pa.int64()),  # number of a second scan, beside which a person should look at the first
        ("detail", pa.string()),
        ("score", pa.float64()),  # the higher the worse; null where issues of a kind are equally bad
    ]
)
NAMES_SHOWN = 3

Row = dict[str, Any]


def find_issues(target: InspectionTarget, scan_stats: pa.Table) -> pa.Table:
    """All errors and warnings of a data set (schema ISSUES), in the order of KINDS and the worst of a kind first.

    `scan_stats` (schema SCAN_STATS) are in the order of the target's scans.
    """
    rows = [
        *({"kind": "plan", "detail": problem} for problem in target.plan_problems),
        *_shared_patients(target),
        *({"kind": "classes", "detail": note} for note in class_notes(target.manifest)),
        *_duplicates(scan_stats, target.manifest.published_split),
        *_near_duplicates(scan_stats),
        *_scan_issues(scan_stats),
        *_list_issues(target),
        *_channel_issues(target, scan_stats),
        *_implausible_spacing(target, scan_stats),
        *_outside_samples(target, scan_stats),
        *_unseen_classes(target, scan_stats),
    ]
    # A wrong unit is named once.
    implausible = {row["number"] for row in rows if row["kind"] == "implausible"}
    rows += (row for row in find_outliers(scan_stats) if row["kind"] != "spacing" or row["number"] not in implausible)
    return _table(rows, scan_stats)


def _table(rows: list[Row], scan_stats: pa.Table) -> pa.Table:
    ids, paths = scan_stats["scan_id"].to_pylist(), scan_stats["path"].to_pylist()
    order = {kind: position for position, kind in enumerate(KINDS)}
    complete = []
    for row in rows:
        number = row.get("number")
        scan = {} if number is None else {"scan_id": ids[number], "path": paths[number]}
        complete.append({"score": None, **scan, **row, "severity": KINDS[row["kind"]].severity})
    complete.sort(key=lambda row: (order[row["kind"]], -(row["score"] or 0), row.get("number") or 0))
    return pa.Table.from_pylist(complete, schema=ISSUES)


def _shared_patients(target: InspectionTarget) -> Iterator[Row]:
    scans = Counter(target.manifest.scans["patient_id"].to_pylist())
    for patient, splits in shared_patients(target.manifest.scans).items():
        yield {"kind": "patient", "detail": f"patient {patient} has {scans[patient]} scans, in {' and '.join(splits)}"}


def _duplicates(scan_stats: pa.Table, published_split: bool) -> Iterator[Row]:
    checked = scan_stats.filter(
        pc.and_(pc.is_valid(scan_stats["checksum"]), pc.invert(pc.starts_with(scan_stats["checksum"], CONSTANT)))
    )
    keys = ["checksum", "channels", "dtype", "x_extent", "y_extent", "z_extent"]
    groups = checked.group_by(keys).aggregate([("number", "list"), ("number", "count")])
    for numbers in groups.filter(pc.greater(groups["number_count"], 1))["number_list"].to_pylist():
        first, *others = rows = scan_stats.take(sorted(numbers)).to_pylist()
        names = ", ".join(map(_describe, others[:NAMES_SHOWN]))
        more = f" and {len(others) - NAMES_SHOWN:,} more" if len(others) > NAMES_SHOWN else ""
        kind = _duplicate_kind(rows, published_split)
        yield {"kind": kind, "number": first["number"], "detail": f"same voxels as {names}{more}"}


def _near_duplicates(scan_stats: pa.Table) -> Iterator[Row]:
    """For each scan that is almost the same as one of an earlier split or patient, the one most like it."""
    signed = scan_stats.filter(pc.is_valid(scan_stats["signature"]))
    shapes, signatures = signed["signature_shape"].to_pylist(), signed["signature"].to_pylist()
    images = [np.frombuffer(each, np.uint8).reshape(shape) for each, shape in zip(signatures, shapes, strict=True)]
    # Without splits yet, patients will be assigned to them one by one.
    key = "patient_id" if signed["split"].null_count == signed.num_rows else "split"
    groups = signed[key].to_pylist()
    order = [*SPLITS, *sorted(set(groups) - set(SPLITS), key=str)]
    numbers = np.array([order.index(group) for group in groups], np.int64)
    like: dict[int, list[NearPair]] = {}
    checksums = signed["checksum"].to_pylist()
    for pair in find_near_duplicates(images, numbers):
        if checksums[pair.first] != checksums[pair.second]:
            like.setdefault(max(pair[:2], key=lambda each: (numbers[each], each)), []).append(pair)
    rows = signed.take(pa.array([each for pairs in like.values() for each in pairs[0][:2]], pa.int64())).to_pylist()
    for (number, pairs), first, second in zip(like.items(), rows[::2], rows[1::2], strict=True):
        other = second if number == pairs[0].first else first
        more = f", and {len(pairs) - 1:,} more" if len(pairs) > 1 else ""
        detail = f"almost the same as {_describe(other)}: details correlate by {pairs[0].correlation:.2f}{more}"
        here = first if other is second else second
        yield {
            "kind": "near",
            "number": here["number"],
            "other": other["number"],
            "detail": detail,
            "score": pairs[0].correlation,
        }


def _duplicate_kind(rows: list[Row], published_split: bool) -> str:
    labels, splits, patients = ({row[key] for row in rows} for key in ("label", "split", "patient_id"))
    if len(labels) > 1:
        return "contradiction"
    # Without splits yet, patients will be assigned to them one by one.
    separable = len(splits) > 1 or (splits == {None} and len(patients) > 1)
    return "leak" if separable and not published_split else "twin"


def _describe(row: Row) -> str:
    notes = [str(row[key]) for key in ("label", "split") if row[key] is not None]
    return f"{row['path']} ({', '.join(notes)})" if notes else str(row["path"])


def _scan_issues(scan_stats: pa.Table) -> Iterator[Row]:
    affected = scan_stats.filter(pc.greater(pc.list_value_length(scan_stats["issues"]), 0))
    for row in affected.select(["number", "issues"]).to_pylist():
        yield from ({**issue, "number": row["number"]} for issue in row["issues"])


def _list_issues(target: InspectionTarget) -> Iterator[Row]:
    for row in target.manifest.quarantine.to_pylist():
        kind = "absent" if row["kind"] == "absent" else "listed" if row["samples"] > 0 else "unlisted"
        # The path is displayed beside the reason.
        reason = row["reason"].removeprefix(str(row["path"])).removeprefix(":").strip()
        yield {"kind": kind, "scan_id": row["scan_id"], "path": row["path"], "detail": reason}


def _channel_issues(target: InspectionTarget, scan_stats: pa.Table) -> Iterator[Row]:
    counts = Counter(scan_stats["channels"].drop_null().to_pylist())
    if not counts:
        return
    expected = len(target.manifest.channels) or counts.most_common(1)[0][0]
    source = "the data set names" if target.manifest.channels else "most scans have"
    odd = scan_stats.filter(pc.fill_null(pc.not_equal(scan_stats["channels"], expected), False))
    for row in odd.select(["number", "channels"]).to_pylist():
        yield {"kind": "channels", "number": row["number"], "detail": f"has {row['channels']}, {source} {expected}"}


def _implausible_spacing(target: InspectionTarget, scan_stats: pa.Table) -> Iterator[Row]:
    low, high = target.spacing_range_mm
    read = scan_stats.filter(pc.is_valid(scan_stats["channels"]))
    spacing = axis_columns(read, "spacing_mm")
    extents = axis_columns(read, "extent")
    odd = (extents > 1) & ~((spacing >= low) & (spacing <= high))
    for row in np.flatnonzero(odd.any(axis=1)):
        steps = "×".join(f"{step:.4g}" for step in spacing[row])
        detail = f"{steps} mm, expected {low:g} to {high:g} mm"
        yield {"kind": "implausible", "number": read["number"][int(row)].as_py(), "detail": detail}


def _outside_samples(target: InspectionTarget, scan_stats: pa.Table) -> Iterator[Row]:
    """One issue per scan with samples whose center is outside of it."""
    samples = target.manifest.samples.filter(pc.is_valid(target.manifest.samples["x_mm"]))
    scans = scan_stats.filter(pc.is_valid(scan_stats["affine"]))
    position = pc.index_in(samples["scan_id"], value_set=scans["scan_id"].combine_chunks())
    samples = samples.append_column("position", position).filter(pc.is_valid(position))
    if samples.num_rows == 0:
        return
    positions = np.asarray(samples["position"].to_numpy())
    inverses = np.linalg.inv(np.asarray(scans["affine"].combine_chunks().flatten()).reshape(-1, 4, 4))
    points = np.stack([samples[name].to_numpy() for name in ("x_mm", "y_mm", "z_mm")], axis=1)
    voxels = np.einsum("nij,nj->ni", inverses[positions, :3, :3], points) + inverses[positions, :3, 3]
    shapes = np.stack([scans[f"{axis}_extent"].to_numpy() for axis in "xyz"], axis=1)
    outside = np.flatnonzero(((voxels < -0.5) | (voxels > shapes[positions] - 0.5)).any(axis=1))
    affected, first, counts = np.unique(positions[outside], return_index=True, return_counts=True)
    totals = np.bincount(positions, minlength=scans.num_rows)
    numbers = scans["number"].to_numpy()
    for scan, row, count in zip(affected, outside[first], counts, strict=True):
        voxel = ", ".join(f"{value:.1f}" for value in voxels[row])
        shape = "×".join(map(str, shapes[scan]))
        detail = f"{count:,} of its {totals[scan]:,} samples, the first at voxel ({voxel}) of {shape}"
        yield {"kind": "outside", "number": int(numbers[scan]), "detail": detail, "score": float(count)}


def _unseen_classes(target: InspectionTarget, scan_stats: pa.Table) -> Iterator[Row]:
    """Classes that no mask has, where masks were read."""
    counts = scan_stats["mask_voxels"].drop_null().to_pylist()
    if not counts:
        return
    totals = np.sum(counts, axis=0)
    for label, name in enumerate(target.mask_classes):
        if totals[label] == 0:
            yield {"kind": "unseen", "detail": f"no mask has a voxel of {label} {name}"}
