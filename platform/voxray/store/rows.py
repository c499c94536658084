"""One scan's files → its patches with their rows of the index, and rows of the quarantine."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.errors import EmptyScanError, ScanError, VoxrayError
from voxray.patches.cut import (
    Boxes,
    CutSettings,
    Patch,
    choose_boxes,
    cut_patches,
    middle_box,
    prepare_volume,
    scan_number,
    scan_statistics,
)
from voxray.privacy import telling_words, without_names
from voxray.scans.formats.picture import PICTURE
from voxray.scans.geometry import voxel_to_world
from voxray.scans.masks import open_mask
from voxray.scans.read import fetch_regions, open_scan, read_region
from voxray.storage.paths import AnyPath, join_path
from voxray.store.checksum import patch_checksum, voxel_checksum
from voxray.store.layout import StoreInfo
from voxray.volume import PatchBox, Volume

FROM_PLAN = ("split", "slot", "shard", "label", "scan_id", "patient_id", "row")  # columns that the index takes over
Row = dict[str, Any]


def cut_scan(root: AnyPath, rows: list[Row], info: StoreInfo) -> tuple[list[tuple[Row, Patch]], list[Row]]:
    """Cut all patches of one scan, given by its rows of the plan.

    Whatever fails within the scan, also for lack of memory, concerns no other scan.

    Returns
    -------
    list of (dict, Patch)
        The good patches, each with its row of the index.
    list of dict
        Quarantine rows for the others; one row where the whole scan cannot be used.

    Raises
    ------
    WorkError
        Object storage failed.
    """
    try:
        return _cut(root, rows, info)
    except ScanError as error:
        failure = error
    except VoxrayError:
        raise
    except Exception as error:  # noqa: BLE001  whatever a stranger's scan makes a library raise, and too little memory
        reason = f"{type(error).__name__}: {error}".partition("\n")[0].removesuffix(": ")
        remedy = "Check it with voxray inspect, and remove it from the data set if it cannot be repaired"
        failure = ScanError(rows[0]["path"], f"its patches cannot be cut: {reason}", remedy)
    kind = "empty" if isinstance(failure, EmptyScanError) else "scan"
    return [], [_quarantine_row(rows[0], kind, len(rows), failure, root, info) | {"row": None}]


def _cut(root: AnyPath, rows: list[Row], info: StoreInfo) -> tuple[list[tuple[Row, Patch]], list[Row]]:
    """What `cut_scan` returns; ScanError where the whole scan cannot be used."""
    scan = rows[0]
    settings = CutSettings.from_provenance(info.provenance, info.channels, info.classes, masks=info.masks)
    volume, mask, number = _open(root, scan, settings)
    boxes = _boxes_of_rows(rows, volume, mask, settings, number)
    middle = middle_box(volume, info.size)  # its checksum finds the same voxels under two names
    fetch_regions(volume, [middle, *(box for box in boxes if isinstance(box, PatchBox))])
    shared: Row = {
        "scan_checksum": voxel_checksum(read_region(volume, middle, settings.patches.pad_value)),
        "statistics": scan_statistics(volume, settings),
    }
    names = [f"{scan['path']}: sample {row['row']}" for row in rows]
    indexed, quarantine = [], []
    for row, patch in zip(rows, cut_patches(volume, mask, boxes, settings, names), strict=True):
        if isinstance(patch, ScanError):
            quarantine.append(_quarantine_row(row, "sample", 1, patch, root, info))
            continue
        checksum = patch_checksum(patch.image, patch.mask)
        indexed.append((_index_row(row, volume, patch.box, info) | shared | {"checksum": checksum}, patch))
    return indexed, quarantine


def _open(root: AnyPath, row: Row, settings: CutSettings) -> tuple[Volume, Volume | None, int]:
    volume = open_scan(join_path(root, row["path"]), by_regions=settings.needs_regions_only)
    mask = None
    if settings.needs_mask and row["label_path"] is not None:
        mask = open_mask(join_path(root, row["label_path"]))
    return *prepare_volume(volume, mask, settings, row["path"]), scan_number(volume, settings)


def _boxes_of_rows(rows: list[Row], volume: Volume, mask: Volume | None, settings: CutSettings, number: int) -> Boxes:
    """A box, or an error, for each row; a shard may hold a part of a scan's boxes only."""
    scan = rows[0]
    centers = None if scan["x_mm"] is None else np.array([(row["x_mm"], row["y_mm"], row["z_mm"]) for row in rows])
    boxes = choose_boxes(volume, mask, settings, scan["path"], number=number, centers_mm=centers)
    if settings.patches.sampling == "center":
        return boxes
    if rows[-1]["number"] >= len(boxes):
        extent = "x".join(map(str, volume.shape))
        problem = f"has {extent} voxels, fewer than its header had when its patches were planned"
        raise ScanError(scan["path"], problem, "Restore the old file, or ingest into another store.path")
    return [boxes[row["number"]] for row in rows]


def _index_row(row: Row, volume: Volume, box: PatchBox, info: StoreInfo) -> Row:
    center: NDArray[np.float64] | list[float] = [row["x_mm"], row["y_mm"], row["z_mm"]]
    if row["x_mm"] is None:
        center = voxel_to_world(volume.affine, np.array([box.start]) + np.array(box.size) // 2)[0].tolist()
    return {
        **{name: row[name] for name in FROM_PLAN},
        **_public_paths(row, info),
        "rotation": 0,
        **dict(zip(("x_start", "y_start", "z_start"), box.start, strict=True)),
        **dict(zip(("x_extent", "y_extent", "z_extent"), volume.shape, strict=True)),
        **dict(zip(("x_mm", "y_mm", "z_mm"), center, strict=True)),
    }


def _quarantine_row(row: Row, kind: str, samples: int, error: ScanError, root: AnyPath, info: StoreInfo) -> Row:
    where, *texts = (text.replace(f"{root}/", "") for text in (error.where, error.problem, error.remedy))
    if info.private:
        words = telling_words((row["path"], row["label_path"]))
        where, texts = row["scan_id"], [without_names(text, words) for text in texts]
    reason = str(ScanError(where, *texts))
    return {
        "scan_id": row["scan_id"],
        "path": _public_paths(row, info)["path"],
        "row": row["row"],
        "kind": kind,
        "samples": samples,
        "reason": reason,
    }


def _public_paths(row: Row, info: StoreInfo) -> Row:
    """The paths in the store; under a privacy key they say no more than whether a scan is a picture."""
    if not info.private:
        return {"path": row["path"], "label_path": row["label_path"]}
    suffix = next(filter(row["path"].lower().endswith, PICTURE.suffixes), "")
    return {"path": row["scan_id"] + suffix, "label_path": row["label_path"] and row["scan_id"]}
