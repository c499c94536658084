"""One scan → its patches, index rows and quarantine rows."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xxhash
from numpy.typing import NDArray

from voxray.config.data import PatchesSpec
from voxray.errors import EmptyScanError, ScanError
from voxray.patches.extract import cut_patch, patch_boxes
from voxray.patches.foreground import draw_boxes, grid_boxes, random_boxes, whole_box
from voxray.patches.slices import slice_boxes
from voxray.privacy import telling_words, without_names
from voxray.scans.formats.picture import PICTURE
from voxray.scans.geometry import voxel_to_world
from voxray.scans.intensity import clip_voxels, statistics_rows, volume_statistics
from voxray.scans.masks import check_finite, check_label, check_same_grid
from voxray.scans.read import fetch_regions, open_scan, read_region
from voxray.scans.resample import resample, resize
from voxray.storage.paths import AnyPath, join_path
from voxray.store.layout import StoreInfo
from voxray.volume import PatchBox, Volume

CONSTANT = "constant"
MASK_DTYPE = np.dtype("uint8")

Row = dict[str, Any]


@dataclass(frozen=True, eq=False)
class Cut:
    """One patch and its row of the index.

    Attributes
    ----------
    row : dict
    image : ndarray, (channel, x, y, z)
    mask : ndarray of uint8, (x, y, z), optional
    """

    row: Row
    image: NDArray[np.generic]
    mask: NDArray[np.generic] | None


def cut_scan(root: AnyPath, rows: list[Row], info: StoreInfo, pad_value: float) -> tuple[list[Cut], list[Row]]:
    """Cut all patches of one scan.

    Parameters
    ----------
    root : Place
        Folder of the scans.
    rows : list of dict
        The scan's rows of the plan.
    info : StoreInfo
    fill : float
        Value of voxels outside the scan.

    Returns
    -------
    list of Cut, list of dict
        The good patches, and quarantine rows for the others.
    """
    one = rows[0]
    try:
        volume, region = _open(root, one, info)
        boxes = _boxes(rows, volume, region, info)
        middle = _middle(volume, info.size)
        fetch_regions(volume, [middle, *(box for box in boxes if isinstance(box, PatchBox))])
        known: Row = {"scan_checksum": voxel_checksum(read_region(volume, middle, pad_value)), "statistics": None}
        if info.provenance["statistics"]:
            known["statistics"] = statistics_rows(volume_statistics(volume.array))
    except ScanError as error:
        kind = "empty" if isinstance(error, EmptyScanError) else "scan"
        return [], [_quarantine_row(one, kind, len(rows), error, root, info) | {"row": None}]
    label = region if info.masks else None
    cuts, aside = [], []
    for row, box in zip(rows, boxes, strict=True):
        where = f"{one['path']}: sample {row['row']}"
        try:
            if isinstance(box, ScanError):
                raise ScanError(where, box.problem, box.remedy)
            image = cut_patch(volume, box, pad_value, np.dtype(info.dtype), where)
            mask = None if label is None else cut_patch(label, box, 0, MASK_DTYPE, where)[0]
        except ScanError as error:
            aside.append(_quarantine_row(row, "sample", 1, error, root, info))
            continue
        told = _index_row(row, volume, box, info) | known | {"checksum": patch_checksum(image, mask)}
        cuts.append(Cut(told, image, mask))
    return cuts, aside


def voxel_checksum(voxels: NDArray[np.generic]) -> str:
    """A name for voxels. Constant ones have their value in it: air looks alike in all patients."""
    plain = np.ascontiguousarray(voxels)
    flat = plain.reshape(-1)
    # The ends are looked at first: nearly no patch needs the second look.
    if flat.size and flat[0] == flat[-1] and (flat == flat[0]).all():
        return f"{CONSTANT} {flat[0]}"
    return xxhash.xxh3_128_hexdigest(plain.data)


def patch_checksum(image: NDArray[np.generic], mask: NDArray[np.generic] | None) -> str:
    """A name for a patch, its mask included."""
    name = voxel_checksum(image)
    return name if mask is None else f"{name} {voxel_checksum(mask)}"


def _open(root: AnyPath, row: Row, info: StoreInfo) -> tuple[Volume, Volume | None]:
    """The scan as its patches are cut from it, and its mask where that is learned or says where to cut."""
    volume = open_scan(join_path(root, row["path"]), by_regions=_needs_regions_only(info))
    if volume.array.shape[0] != info.channels:
        problem = f"wants {info.channels} channels, as its data set has, got {volume.array.shape[0]}"
        raise ScanError(row["path"], problem, "Complete it, or take it out of the list")
    mask = _open_mask(root, row, volume, info)
    spacing = info.patches["spacing_mm"]
    if spacing is not None:
        volume = resample(volume, tuple(spacing), order=1)
        mask = None if mask is None else resample(mask, tuple(spacing), order=0)
    if info.patches["sampling"] == "resized":
        volume = _resized(volume, info, row["path"])
    return volume, mask


def _needs_regions_only(info: StoreInfo) -> bool:
    """Whether nothing of a scan is looked at but its patches."""
    whole = info.patches["spacing_mm"] is not None or info.patches["sampling"] == "resized"
    return not (whole or info.masks or info.provenance["statistics"])


def _open_mask(root: AnyPath, row: Row, volume: Volume, info: StoreInfo) -> Volume | None:
    """Classes of voxels where they are learned, else 1 where anything is labeled; None where no mask is wanted."""
    guides = PatchesSpec.model_validate(info.patches).needs_masks
    if not info.masks and not guides:
        return None
    if row["label_path"] is None:
        raise ScanError(row["path"], "has no mask to say where its patches are", "Fetch it, or leave the scan out")
    mask = open_scan(join_path(root, row["label_path"]))
    if info.masks:
        classes = check_label(volume, mask, info.classes, row["path"])
    else:
        check_same_grid(volume, mask, row["path"])
        classes = (mask.array[0] != 0).astype(MASK_DTYPE)
    if not info.patches["keep_empty"] and not classes.any():
        remedy = "Set patches.keep_empty = true to keep it as a negative"
        raise EmptyScanError(row["path"], "has no foreground, and patches.keep_empty is off", remedy)
    return Volume(classes[None], volume.affine)


def _resized(volume: Volume, info: StoreInfo, where: str) -> Volume:
    """The whole scan in the patch's size. What was interpolated may be rounded to a store of whole numbers."""
    check_finite(volume, where)
    windows = info.provenance["windows"]
    voxels = volume.array if windows is None else clip_voxels(volume.array, windows)
    small = resize(Volume(voxels, volume.affine), info.size, where)
    whole = np.dtype(info.dtype).kind in "iu" and small.array.dtype.kind == "f"
    return Volume(np.rint(small.array), small.affine) if whole else small


def _boxes(rows: list[Row], volume: Volume, region: Volume | None, info: StoreInfo) -> list[PatchBox | ScanError]:
    """A box, or an error, for each row."""
    if info.patches["sampling"] == "center":
        return patch_boxes(volume, centers_of(rows), info.size)
    boxes = _boxes_of_scan(rows[0], volume, None if region is None else region.array[0], info)
    if rows[-1]["number"] >= len(boxes):
        found = "x".join(map(str, volume.shape))
        problem = f"has {found} voxels, fewer than its header had when its patches were planned"
        raise ScanError(rows[0]["path"], problem, "Put the old file back, or ingest into another store.path")
    return [boxes[row["number"]] for row in rows]


def _boxes_of_scan(
    row: Row, volume: Volume, region: NDArray[np.generic] | None, info: StoreInfo
) -> Sequence[PatchBox | ScanError]:
    """All boxes of a scan, of which a shard may hold a part only."""
    spec: Mapping[str, Any] = info.patches
    if spec["sampling"] in ("whole", "resized"):
        return [whole_box(volume.shape, info.size, row["path"])]
    if spec["sampling"] == "grid":
        return grid_boxes(volume.shape, info.size)
    if spec["sampling"] == "slices":
        return slice_boxes(volume.shape, info.size, spec["patches_per_scan"], region)
    # They depend on the seed and the scan's name, not on the shard or the order of work.
    name = int.from_bytes(hashlib.sha256(row["scan_id"].encode()).digest()[:8], "big")
    rng = np.random.default_rng([int(info.provenance["seed"]), name])
    if spec["sampling"] == "random" or region is None:
        return random_boxes(volume.shape, info.size, spec["patches_per_scan"], rng)
    return draw_boxes(region, info.size, spec["patches_per_scan"], spec["min_foreground"], rng)


def centers_of(rows: list[Row]) -> NDArray[np.float64] | None:
    """World centers (n, 3) of a scan's samples; None where the images as a whole are the samples."""
    if rows[0]["x_mm"] is None:
        return None
    return np.array([(row["x_mm"], row["y_mm"], row["z_mm"]) for row in rows])


def _index_row(row: Row, volume: Volume, box: PatchBox, info: StoreInfo) -> Row:
    center = [row["x_mm"], row["y_mm"], row["z_mm"]]
    if row["x_mm"] is None:
        middle = np.array([box.start]) + np.array(box.size) // 2
        center = voxel_to_world(volume.affine, middle)[0].tolist()
    names = ("split", "slot", "shard", "label", "scan_id", "patient_id", "row")
    return {
        **{name: row[name] for name in names},
        **_told_paths(row, info),
        "rotation": 0,
        **dict(zip(("x_start", "y_start", "z_start"), box.start, strict=True)),
        **dict(zip(("x_extent", "y_extent", "z_extent"), volume.shape, strict=True)),
        **dict(zip(("x_mm", "y_mm", "z_mm"), center, strict=True)),
    }


def _quarantine_row(row: Row, kind: str, samples: int, error: ScanError, root: AnyPath, info: StoreInfo) -> Row:
    reason = str(error).replace(f"{root}/", "")
    if info.private:
        words = telling_words((row["path"], row["label_path"]))
        told = (without_names(text, words) for text in (error.problem, error.remedy))
        reason = str(ScanError(row["scan_id"], *told))
    return {
        "scan_id": row["scan_id"],
        "path": _told_paths(row, info)["path"],
        "row": row["row"],
        "kind": kind,
        "samples": samples,
        "reason": reason,
    }


def _told_paths(row: Row, info: StoreInfo) -> Row:
    """What the store says of a scan's files; under a privacy key no more than whether they are pictures."""
    paths: Row = {"path": row["path"], "label_path": row["label_path"]}
    if not info.private:
        return paths
    suffix = next((each for each in PICTURE.suffixes if paths["path"].lower().endswith(each)), "")
    return {"path": row["scan_id"] + suffix, "label_path": None if paths["label_path"] is None else row["scan_id"]}


def _middle(volume: Volume, size: tuple[int, int, int]) -> PatchBox:
    """A patch's breadth in the scan's middle slice; its checksum finds the same voxels under two names."""
    x, y, z = (min(extent, wanted) for extent, wanted in zip(volume.shape, (*size[:2], 1), strict=True))
    (i, j, k) = ((extent - wanted) // 2 for extent, wanted in zip(volume.shape, (x, y, z), strict=True))
    return PatchBox((i, j, k), (x, y, z))
