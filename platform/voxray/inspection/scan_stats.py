"""The facts of one scan: what its header says, and with its voxels what they are. Nothing here stops at a bad scan."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from voxray.errors import ScanError
from voxray.inspection.target import TARGETS
from voxray.scans.header import ScanHeader, read_header
from voxray.scans.intensity import volume_statistics
from voxray.scans.masks import check_finite, check_same_grid, label_classes
from voxray.scans.read import open_scan
from voxray.storage.paths import AnyPath
from voxray.store.checksum import voxel_checksum
from voxray.volume import Volume

# The lowest, the highest, and between them what a chart can draw.
RANKS = (0.0, 0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5, 100.0)

MOST_PIECES, HEADERS_A_PIECE = 1000, 32

SCAN_STATS = pa.schema(
    [
        *TARGETS,
        ("size_bytes", pa.int64()),  # on disk, with the mask; null, like all that follows, where the header is unread
        ("channels", pa.int32()),
        ("dtype", pa.string()),
        ("axes", pa.string()),  # of the file, such as LPS; empty for pictures
        ("x_extent", pa.int32()),  # voxels in canonical axes
        ("y_extent", pa.int32()),
        ("z_extent", pa.int32()),
        ("x_spacing_mm", pa.float64()),
        ("y_spacing_mm", pa.float64()),
        ("z_spacing_mm", pa.float64()),
        ("affine", pa.list_(pa.float64())),  # voxel to world RAS, row after row
        ("percentiles", pa.list_(pa.list_(pa.float64()))),  # at RANKS, for each channel; null without finite voxels
        ("mean", pa.list_(pa.float64())),
        ("deviation", pa.list_(pa.float64())),
        ("checksum", pa.string()),  # of all voxels; begins with "constant" where they have one value
        ("mask_voxels", pa.list_(pa.int64())),  # of each class; of background and foreground where they have no names
        ("problems", pa.list_(pa.struct([("kind", pa.string()), ("detail", pa.string())]))),
    ]
)

Row = dict[str, Any]


def chunk_targets(targets: pa.Table, voxels: bool) -> list[pa.Table]:
    """Targets in pieces that are worth a task each: a scan, several headers, or more where there are very many."""
    step = max(1 if voxels else HEADERS_A_PIECE, -(-targets.num_rows // MOST_PIECES))
    return [targets.slice(start, step) for start in range(0, targets.num_rows, step)]


def inspect_scans(root: AnyPath, targets: pa.Table, classes: Sequence[str], voxels: bool) -> pa.Table:
    """The facts of some scans.

    Parameters
    ----------
    root : Place
        Folder that paths are relative to.
    targets : pyarrow.Table
        Schema TARGETS.
    classes : sequence of str
        Names of the values of masks; none where any value but 0 is foreground.
    voxels : bool
        Whether to read everything, and not headers alone.

    Returns
    -------
    pyarrow.Table
        Schema FACTS, in the order of `targets`.
    """
    rows = [_facts(root, target, classes, voxels) for target in targets.to_pylist()]
    return pa.Table.from_pylist(rows, schema=SCAN_STATS)


def _facts(root: AnyPath, target: Row, classes: Sequence[str], voxels: bool) -> Row:
    scan_stats: Row = {**dict.fromkeys(SCAN_STATS.names), **target, "problems": []}
    image: Volume | None = None
    try:
        header = read_header(root / target["path"])
        _check_numbers(header, target["path"])
        scan_stats |= _header_facts(header)
        if voxels:
            image = open_scan(root / target["path"])
    except ScanError as error:
        _note(scan_stats, "unreadable", error, root)
        return scan_stats
    if image is not None:
        _add_voxel_facts(scan_stats, image, root)
    if target["label_path"] is not None:
        _add_mask_facts(scan_stats, header, root, classes, voxels)
    return scan_stats


def _check_numbers(header: ScanHeader, where: str) -> None:
    if min(header.channels, *header.shape) < 1:
        raise ScanError(where, f"holds no voxel, got {header.channels} channels of {header.shape}")
    if header.dtype.kind not in "iufb":
        raise ScanError(where, f"its voxels are no plain numbers, got {header.dtype}")


def _header_facts(header: ScanHeader) -> Row:
    return {
        "size_bytes": header.size_bytes,
        "channels": header.channels,
        "dtype": header.dtype.name,
        "axes": header.axes,
        **dict(zip(("x_extent", "y_extent", "z_extent"), header.shape, strict=True)),
        **dict(zip(("x_spacing_mm", "y_spacing_mm", "z_spacing_mm"), header.spacing_mm, strict=True)),
        "affine": header.affine.ravel().tolist(),
    }


def _add_voxel_facts(scan_stats: Row, image: Volume, root: AnyPath) -> None:
    scan_stats["checksum"] = voxel_checksum(image.array)
    try:
        check_finite(image, scan_stats["path"])
    except ScanError as error:
        _note(scan_stats, "not_finite", error, root)
        return
    statistics = volume_statistics(image.array, RANKS)
    scan_stats["percentiles"] = statistics.percentiles.tolist()
    scan_stats["mean"], scan_stats["deviation"] = statistics.mean.tolist(), statistics.deviation.tolist()
    flat = np.flatnonzero(statistics.percentiles[:, 0] == statistics.percentiles[:, -1]).tolist()
    if flat:
        value = statistics.percentiles[flat[0], 0]
        which = f"channel {', '.join(map(str, flat))}" if len(image.array) > 1 else "every voxel"
        _note(scan_stats, "constant", ScanError(scan_stats["path"], f"{which} has the value {value:g}"), root)


def _add_mask_facts(scan_stats: Row, header: ScanHeader, root: AnyPath, classes: Sequence[str], voxels: bool) -> None:
    path = root / scan_stats["label_path"]
    try:
        mask = read_header(path)
        if mask.channels != 1:
            raise ScanError(scan_stats["label_path"], f"a mask wants one channel, got {mask.channels}")
        opened = open_scan(path) if voxels else None
    except ScanError as error:
        _note(scan_stats, "mask", error, root)
        return
    scan_stats["size_bytes"] += mask.size_bytes
    try:
        check_same_grid(header, mask, scan_stats["path"])
    except ScanError as error:
        _note(scan_stats, "grid", error, root)
    if opened is None:
        return
    try:
        codes = label_classes(opened, classes, scan_stats["label_path"]) if classes else (opened.array[0] != 0)
    except ScanError as error:
        _note(scan_stats, "values", error, root)
        return
    scan_stats["mask_voxels"] = np.bincount(codes.ravel(order="K"), minlength=max(2, len(classes))).tolist()
    if not codes.any():
        _note(scan_stats, "empty", ScanError(scan_stats["label_path"], "every voxel is background"), root)


def _note(scan_stats: Row, kind: str, error: ScanError, root: AnyPath) -> None:
    where, problem = (text.replace(f"{root}/", "") for text in (error.where, error.problem))
    detail = problem if where == scan_stats["path"] else f"{where}: {problem}"
    scan_stats["problems"].append({"kind": kind, "detail": detail})
