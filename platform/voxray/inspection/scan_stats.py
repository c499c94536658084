"""Statistics of one scan, from its header and optionally its voxels. A bad scan gives a row with issues."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from voxray.config.labels import MaskLabels
from voxray.errors import ScanError
from voxray.inspection.signatures import signature
from voxray.inspection.target import TARGETS
from voxray.scans.formats.base import scan_errors
from voxray.scans.header import ScanHeader, read_header
from voxray.scans.intensity import volume_statistics
from voxray.scans.masks import (
    check_finite,
    check_one_channel,
    check_same_grid,
    count_classes,
    is_labeled,
    label_numbers,
    open_mask,
)
from voxray.scans.read import open_scan
from voxray.storage.paths import AnyPath
from voxray.store.checksum import voxel_checksum
from voxray.volume import Volume

ANYTHING = MaskLabels(("background", "foreground"))
RANKS = (0.0, 0.5, 5.0, 25.0, 50.0, 75.0, 95.0, 99.5, 100.0)  # percentiles
QUANTILES = 200
MOST_VOXELS = 2**20  # of a mask that quantiles are computed from
MOST_CHUNKS, HEADERS_PER_CHUNK = 1000, 32

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
        ("content", pa.list_(pa.int32())),  # voxels along x, y, z of the box that holds every value but 0
        ("mask_voxels", pa.list_(pa.int64())),  # of each class, or of background and foreground
        ("foreground", pa.list_(pa.list_(pa.float32()))),  # QUANTILES of each channel inside the mask, evenly spaced
        ("signature", pa.binary()),  # a coarse picture of the scan, see `voxray.inspection.signatures`
        ("signature_shape", pa.list_(pa.int32())),
        ("issues", pa.list_(pa.struct([("kind", pa.string()), ("detail", pa.string())]))),
    ]
)

Row = dict[str, Any]


def chunk_targets(targets: pa.Table, voxels: bool) -> list[pa.Table]:
    """Targets in chunks of one task each: a scan, several headers, or more where there are very many."""
    step = max(1 if voxels else HEADERS_PER_CHUNK, -(-targets.num_rows // MOST_CHUNKS))
    return [targets.slice(start, step) for start in range(0, targets.num_rows, step)]


def inspect_scans(root: AnyPath, targets: pa.Table, labels: MaskLabels | None, voxels: bool) -> pa.Table:
    """Statistics (schema SCAN_STATS) of some scans (schema TARGETS) of a root folder, in their order.

    `labels` are those of the masks, None where any value but 0 is foreground. Without `voxels`, only
    headers are read.
    """
    rows = [_inspect_scan(root, target, labels, voxels) for target in targets.to_pylist()]
    return pa.Table.from_pylist(rows, schema=SCAN_STATS)


def _inspect_scan(root: AnyPath, target: Row, labels: MaskLabels | None, voxels: bool) -> Row:
    row: Row = {**dict.fromkeys(SCAN_STATS.names), **target, "issues": []}
    image = None
    with _noting(row, "unreadable", root):
        header = read_header(root / target["path"])
        row |= _header_stats(header)
        row["issues"] += ({"kind": "header", "detail": note} for note in header.notes)
        if voxels:
            image = open_scan(root / target["path"])
            _add_voxel_stats(row, image, root)
        if target["label_path"] is not None:
            _add_mask_stats(row, header, root, labels, image)
    return row


def _check_varied(percentiles: NDArray[np.float64], where: str) -> None:
    constant = np.flatnonzero(percentiles[:, 0] == percentiles[:, -1]).tolist()
    if constant:
        voxels = f"channel {', '.join(map(str, constant))}" if len(percentiles) > 1 else "every voxel"
        raise ScanError(where, f"{voxels} has the value {percentiles[constant[0], 0]:g}")


def _header_stats(header: ScanHeader) -> Row:
    return {
        "size_bytes": header.size_bytes,
        "channels": header.channels,
        "dtype": header.dtype.name,
        "axes": header.axes,
        **dict(zip(("x_extent", "y_extent", "z_extent"), header.shape, strict=True)),
        **dict(zip(("x_spacing_mm", "y_spacing_mm", "z_spacing_mm"), header.spacing_mm, strict=True)),
        "affine": header.affine.ravel().tolist(),
    }


def _add_voxel_stats(row: Row, image: Volume, root: AnyPath) -> None:
    row["checksum"] = voxel_checksum(image.array)
    with _noting(row, "not_finite", root):
        check_finite(image, row["path"])
        row["content"] = _content(image.array)
        statistics = volume_statistics(image.array, RANKS)
        row["percentiles"] = statistics.percentiles.tolist()
        row["mean"], row["deviation"] = statistics.mean.tolist(), statistics.deviation.tolist()
        with _noting(row, "constant", root):
            _check_varied(statistics.percentiles, row["path"])
            small = signature(image.array)
            if small is not None:
                row["signature"], row["signature_shape"] = small.tobytes(), small.shape


def _content(voxels: NDArray[Any]) -> list[int]:
    """Voxels along each axis of the box that holds every value but 0, in any channel."""
    occupied = np.any(voxels, axis=0)
    spans = [np.flatnonzero(occupied.any(axis=others)) for others in ((1, 2), (0, 2), (0, 1))]
    return [int(span[-1] - span[0]) + 1 if len(span) else 0 for span in spans]


def _add_mask_stats(
    row: Row, header: ScanHeader, root: AnyPath, labels: MaskLabels | None, image: Volume | None
) -> None:
    path = root / row["label_path"]
    with _noting(row, "mask", root):
        mask = read_header(path)
        check_one_channel(mask, path, row["label_path"])
        volume = None if image is None else open_mask(path)
        row["size_bytes"] += mask.size_bytes
        with _noting(row, "grid", root):
            check_same_grid(header, mask, row["path"])
        if volume is not None and image is not None:
            _add_label_stats(row, volume, root, labels, image)


def _add_label_stats(row: Row, mask: Volume, root: AnyPath, labels: MaskLabels | None, image: Volume) -> None:
    with _noting(row, "values", root):
        numbers = label_numbers(mask, labels, row["label_path"]) if labels else (mask.array[0] != 0).view(np.uint8)
        row["mask_voxels"] = count_classes(numbers, labels or ANYTHING)
        with _noting(row, "empty", root):
            foreground = is_labeled(numbers)
            if not foreground.any():
                raise ScanError(row["label_path"], "no voxel is labeled as anything but background")
            if foreground.shape == image.shape:
                row["foreground"] = _quantiles(image.array[:, foreground])


def _quantiles(voxels: NDArray[Any]) -> list[list[float]]:
    """Evenly spaced quantiles of voxels (channel, n)."""
    some = voxels[:, :: -(-voxels.shape[1] // MOST_VOXELS)]
    quantiles = np.quantile(some, (np.arange(QUANTILES) + 0.5) / QUANTILES, axis=1)
    return [channel.tolist() for channel in quantiles.T]


@contextmanager
def _noting(row: Row, kind: str, root: AnyPath) -> Iterator[None]:
    """Turn every error into an issue of the scan, but for those of object storage."""
    try:
        with scan_errors(row["path"]):
            yield
    except ScanError as error:
        where, problem = (text.replace(f"{root}/", "") for text in (error.where, error.problem))
        detail = problem if where == row["path"] else f"{where}: {problem}"
        row["issues"].append({"kind": kind, "detail": detail})
