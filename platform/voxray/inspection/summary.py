"""A data set in numbers, as ``inspect.json`` keeps them and as a page and a terminal show them."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.inspection.issues import count_errors, count_kinds, find_all
from voxray.inspection.outliers import column, percentile_array
from voxray.inspection.scan_stats import RANKS
from voxray.inspection.target import InspectionTarget
from voxray.patches.balance import SPLITS

NO_SPLIT = "all"


@dataclass(frozen=True, eq=False)
class Inspection:
    """All that a look at a data set brought to light.

    Attributes
    ----------
    subject : Subject
    facts, findings : pyarrow.Table
        Schemas FACTS and FINDINGS.
    voxels : bool
        Whether scans were read whole.
    """

    target: InspectionTarget
    scan_stats: pa.Table
    findings: pa.Table
    voxels: bool

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return count_errors(self.findings)

    @property
    def warnings(self) -> int:
        """How many findings are warnings."""
        return int(self.findings.num_rows - self.errors)


def finish_inspection(target: InspectionTarget, scan_stats: pa.Table, voxels: bool) -> Inspection:
    """Put facts that came in any order in their place, and find what is wrong among them."""
    ordered = scan_stats.sort_by("number").combine_chunks()
    return Inspection(target, ordered, find_all(target, ordered), voxels)


def summarize(inspection: Inspection) -> dict[str, Any]:
    """Everything but the rows of single scans, as plain values.

    Returns
    -------
    dict
        `extent` and `spacing_mm` are [lowest, median, highest] for x, y and z; `intensity` has for each channel the
        median over the scans of each percentile.
    """
    target, scan_stats = inspection.target, inspection.scan_stats
    read = scan_stats.filter(pc.is_valid(scan_stats["channels"]))
    return {
        "name": target.name,
        "layout": target.layout or None,
        "voxels_read": inspection.voxels,
        "errors": inspection.errors,
        "warnings": inspection.warnings,
        "kinds": count_kinds(inspection.findings),
        "scans": scan_stats.num_rows,
        "readable": read.num_rows,
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
        "notes": list(target.manifest.notes),
        "findings": [
            {key: value for key, value in row.items() if value is not None} for row in inspection.findings.to_pylist()
        ],
    }


def store_bytes(target: InspectionTarget, read: pa.Table) -> int | None:
    """Voxels of all planned patches, images and masks, before compression; None without a plan.

    Parameters
    ----------
    subject : Subject
    read : pyarrow.Table
        Facts of the scans that could be read.
    """
    plan = target.plan
    if plan is None or read.num_rows == 0:
        return None
    channels = len(target.manifest.channels) or Counter(read["channels"].to_pylist()).most_common(1)[0][0]
    voxels = int(np.prod(plan.size))
    return int(plan.table.num_rows * (plan.patch_bytes * channels + (voxels if plan.masks else 0)))


def _disk_bytes(target: InspectionTarget, scan_stats: pa.Table) -> int:
    """Of all scans and masks, or of the one file that they lie in."""
    root = target.manifest.root
    return root.stat().st_size if root.is_file() else int(pc.sum(scan_stats["size_bytes"]).as_py() or 0)


def _voxel_bytes(read: pa.Table) -> int:
    """Of the images in memory."""
    voxels = np.ones(read.num_rows)
    for name in ("channels", "x_extent", "y_extent", "z_extent"):
        voxels *= column(read, name)
    sizes = {name: np.dtype(name).itemsize for name in pc.unique(read["dtype"]).to_pylist()}
    return int(sum(voxels * np.array([sizes[name] for name in read["dtype"].to_pylist()])))


def _splits(target: InspectionTarget, scan_stats: pa.Table) -> dict[str, dict[str, Any]]:
    """Scans, patients, samples of each class and planned patches of each split; of `NO_SPLIT` where there is none."""
    samples = target.manifest.samples.join(scan_stats.select(["scan_id", "split"]), "scan_id", join_type="inner")
    found = {}
    for split in (*SPLITS, None):
        mine = scan_stats.filter(_is(scan_stats["split"], split))
        if mine.num_rows == 0:
            continue
        labels = np.asarray(samples.filter(_is(samples["split"], split))["label"].to_numpy(), np.int64)
        classes = () if target.masks else target.manifest.classes
        counts = np.bincount(labels, minlength=len(classes)).tolist()
        found[split or NO_SPLIT] = {
            "scans": mine.num_rows,
            "patients": len(pc.unique(mine["patient_id"])),
            "samples": dict(zip(classes, counts, strict=False)),
            "patches": None if target.plan is None or split is None else target.plan.count(split),
        }
    return found


def _is(values: pa.ChunkedArray, split: str | None) -> pa.ChunkedArray:
    return pc.is_null(values) if split is None else pc.fill_null(pc.equal(values, split), False)


def _mask_classes(target: InspectionTarget, scan_stats: pa.Table) -> dict[str, dict[str, Any]] | None:
    """For each class its voxels and the masks that have any; None where no mask was read."""
    rows = [row for row in scan_stats["mask_voxels"].to_pylist() if row]
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
    """For each channel the medians over the scans."""
    percentiles = percentile_array(scan_stats)
    return [
        {f"{rank:g}": float(value) for rank, value in zip(RANKS, np.nanmedian(mine, axis=0), strict=True)}
        for mine in np.moveaxis(percentiles, 1, 0)
    ]
