"""The inspection of a data set in numbers, as ``inspection.json``, the page and the terminal display them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.datasets.manifest import class_notes
from voxray.inspection.annotations import annotation_note
from voxray.inspection.issues import find_issues
from voxray.inspection.kinds import ERROR, WARNING
from voxray.inspection.outliers import column, percentile_array
from voxray.inspection.scan_stats import RANKS
from voxray.inspection.target import InspectionTarget
from voxray.patches.balance import SPLITS

NO_SPLIT = "all"


@dataclass(frozen=True, eq=False)
class Inspection:
    """The result of inspecting a data set: tables of schemas SCAN_STATS and ISSUES, and whether voxels were read."""

    target: InspectionTarget
    scan_stats: pa.Table
    issues: pa.Table
    voxels: bool

    @property
    def errors(self) -> int:
        """Number of issues that are errors."""
        return int(pc.sum(pc.equal(self.issues["severity"], ERROR)).as_py() or 0)

    @property
    def warnings(self) -> int:
        """Number of issues that are warnings."""
        return int(pc.sum(pc.equal(self.issues["severity"], WARNING)).as_py() or 0)


def finish_inspection(target: InspectionTarget, scan_stats: pa.Table, voxels: bool) -> Inspection:
    """Order statistics that arrived in any order, and find the issues among them."""
    ordered = scan_stats.sort_by("number").combine_chunks()
    return Inspection(target, ordered, find_issues(target, ordered), voxels)


def summarize(inspection: Inspection) -> dict[str, Any]:
    """Everything but the statistics of single scans, as plain values.

    `extent` and `spacing_mm` are [lowest, median, highest] for x, y and z; `intensity` has for each channel the median
    over the scans of each percentile.
    """
    target, scan_stats = inspection.target, inspection.scan_stats
    # A scan whose header was read may have voxels that cannot be.
    unreadable = inspection.issues.filter(pc.equal(inspection.issues["kind"], "unreadable"))
    read = scan_stats.filter(pc.is_valid(scan_stats["channels"]))
    return {
        "name": target.name,
        "layout": target.layout or None,
        "voxels_read": inspection.voxels,
        "errors": inspection.errors,
        "warnings": inspection.warnings,
        "kinds": dict(Counter(inspection.issues["kind"].to_pylist())),
        "scans": scan_stats.num_rows,
        "readable": scan_stats.num_rows - len(pc.unique(unreadable["number"])),
        "patients": len(pc.unique(scan_stats["patient_id"])),
        "size_bytes": _disk_bytes(target, scan_stats),
        "voxel_bytes": _voxel_bytes(read),
        "store_bytes": store_bytes(target, read),
        "classes": list(target.manifest.classes),
        "splits": _splits(target, scan_stats),
        "mask_classes": _mask_classes(target, scan_stats),
        "channels": _counts(read, "channels"),
        "dtypes": _counts(read, "dtype"),
        "axes": _counts(read, "axes"),
        "extents": _extents(read),
        "extent": {axis: _range(read, f"{axis}_extent") for axis in "xyz"},
        "spacing_mm": {axis: _range(read, f"{axis}_spacing_mm") for axis in "xyz"},
        "intensity": _intensity(scan_stats),
        # Those on classes are issues.
        "notes": [
            *(note for note in target.manifest.notes if note not in class_notes(target.manifest)),
            *filter(None, [annotation_note(target.layout, target.manifest)]),
        ],
        "issues": [
            {key: value for key, value in row.items() if value is not None} for row in inspection.issues.to_pylist()
        ],
    }


def store_bytes(target: InspectionTarget, read: pa.Table) -> int | None:
    """Bytes of all planned patches, images and masks, before compression; None without a plan or a readable scan."""
    plan = target.plan
    if plan is None or read.num_rows == 0:
        return None
    channels = len(target.manifest.channels) or Counter(read["channels"].to_pylist()).most_common(1)[0][0]
    voxels = int(np.prod(plan.size))
    return int(plan.table.num_rows * (plan.patch_bytes * channels + (voxels if plan.masks else 0)))


def _disk_bytes(target: InspectionTarget, scan_stats: pa.Table) -> int:
    """Size of all scans and masks, or of the one file that holds them."""
    root = target.manifest.root
    return root.stat().st_size if root.is_file() else int(pc.sum(scan_stats["size_bytes"]).as_py() or 0)


def _voxel_bytes(read: pa.Table) -> int:
    """Size of the images in memory."""
    voxels = np.ones(read.num_rows)
    for name in ("channels", "x_extent", "y_extent", "z_extent"):
        voxels *= column(read, name)
    sizes = {name: np.dtype(name).itemsize for name in pc.unique(read["dtype"]).to_pylist()}
    return int(sum(voxels * np.array([sizes[name] for name in read["dtype"].to_pylist()])))


def _splits(target: InspectionTarget, scan_stats: pa.Table) -> dict[str, dict[str, Any]]:
    """Numbers of scans, patients, samples per class and planned patches of each split, or of `NO_SPLIT`."""
    samples = target.manifest.samples.join(scan_stats.select(["scan_id", "split"]), "scan_id", join_type="inner")
    splits = {}
    for split in (*SPLITS, None):
        scans = scan_stats.filter(_is(scan_stats["split"], split))
        if scans.num_rows == 0:
            continue
        labels = np.asarray(samples.filter(_is(samples["split"], split))["label"].to_numpy(), np.int64)
        classes = () if target.masks else target.manifest.classes
        counts = np.bincount(labels, minlength=len(classes)).tolist()
        splits[split or NO_SPLIT] = {
            "scans": scans.num_rows,
            "patients": len(pc.unique(scans["patient_id"])),
            "samples": dict(zip(classes, counts, strict=False)),
            "patches": None if target.plan is None or split is None else target.plan.count(split),
        }
    return splits


def _is(values: pa.ChunkedArray, split: str | None) -> pa.ChunkedArray:
    return pc.is_null(values) if split is None else pc.fill_null(pc.equal(values, split), False)


def _mask_classes(target: InspectionTarget, scan_stats: pa.Table) -> dict[str, dict[str, Any]] | None:
    """Voxels of each class, and number of masks that contain it; None where no mask was read."""
    rows = scan_stats["mask_voxels"].drop_null().to_pylist()
    if not rows:
        return None
    counts = np.array(rows, np.int64)
    return {
        name: {"voxels": int(counts[:, label].sum()), "masks": int((counts[:, label] > 0).sum())}
        for label, name in enumerate(target.mask_classes or ("background", "foreground"))
    }


def _counts(read: pa.Table, name: str) -> dict[str, int]:
    """Values of a column, the most common first."""
    return {str(value): count for value, count in Counter(read[name].to_pylist()).most_common()}


def _extents(read: pa.Table) -> dict[str, int]:
    columns = (read[f"{axis}_extent"].to_pylist() for axis in "xyz")
    return {"×".join(map(str, extent)): count for extent, count in Counter(zip(*columns, strict=True)).most_common()}


def _range(read: pa.Table, name: str) -> list[float]:
    return np.percentile(column(read, name), [0, 50, 100]).tolist() if read.num_rows else []


def _intensity(scan_stats: pa.Table) -> list[dict[str, float]]:
    """Percentiles of each channel, as medians over the scans."""
    percentiles = percentile_array(scan_stats)
    return [
        {f"{rank:g}": float(value) for rank, value in zip(RANKS, np.nanmedian(values, axis=0), strict=True)}
        for values in np.moveaxis(percentiles, 1, 0)
    ]
