"""The memory that writing a shard takes, from the headers of its scans."""

import math
from collections.abc import Mapping

from voxray.patches.cut import MASK_DTYPE
from voxray.scans.formats.npz import is_npz_row
from voxray.scans.header import ScanHeader, read_header
from voxray.scans.resample import resampled_shape
from voxray.storage.paths import AnyPath
from voxray.store.layout import StoreInfo
from voxray.store.rows import Row

PROCESS_BYTES = 400 * 2**20  # a process with its libraries, measured
TASK_BYTES = 2**30  # what a task is given at first: enough for scans of common sizes
COPIES = 2  # of the voxels: decoded, and rotated or clipped
FLOAT_BYTES = 16  # of a voxel: float64, twice, for statistics and interpolation
MASK_BYTES = 8  # of a mask's voxel: 32 bits, twice
BLOCKS = 2  # of a shard: the patches, and their compressed bytes

Key = tuple[str, int]


def scan_bytes(header: ScanHeader, info: StoreInfo) -> int:
    """The most bytes that a scan takes while its patches are cut."""
    voxels = math.prod(header.shape)
    settings = info.provenance["patches"]
    spacing = settings["spacing_mm"]
    after = 0 if spacing is None else math.prod(resampled_shape(header.shape, header.spacing_mm, tuple(spacing)))
    floats = max(voxels if info.provenance["statistics"] or settings["sampling"] == "resized" else 0, after)
    masks = (voxels + after) * MASK_BYTES if info.masks else 0
    held = voxels * header.dtype.itemsize * COPIES + floats * FLOAT_BYTES
    return header.size_bytes + header.channels * held + masks


def block_bytes(info: StoreInfo) -> int:
    """Bytes of a shard's patches and masks while they are written."""
    voxels = math.prod(info.size)
    patch_bytes = info.patch_bytes + (voxels * MASK_DTYPE.itemsize if info.masks else 0)
    return BLOCKS * patch_bytes * info.patches_per_shard


def shard_bytes(root: AnyPath, rows: list[Row], info: StoreInfo) -> int:
    """Bytes that writing a shard takes: its block, and the largest of its scans, which are read one after another.

    `rows` are those of the plan. A scan whose header cannot be read counts as 0 and is quarantined later.
    """
    scans = {row["path"] for row in rows}
    return PROCESS_BYTES + block_bytes(info) + max((_bytes_at(root / path, info) for path in scans), default=0)


def memory_classes(needs: Mapping[Key, int], room: int | None) -> dict[int, list[Key]]:
    """Group shards by the bytes that their tasks are given, ascending: powers of two, so that there are few groups.

    `room` is the memory of the largest node in bytes, which no task exceeds; a task that is given all has the node to
    itself.
    """
    groups: dict[int, list[Key]] = {}
    for key, needed in needs.items():
        groups.setdefault(at_most(2 ** math.ceil(math.log2(needed)), room), []).append(key)
    return dict(sorted(groups.items()))


def at_most(needed: int, room: int | None) -> int:
    """As many bytes as needed, or as there are."""
    return needed if room is None else min(needed, room)


def _bytes_at(path: AnyPath, info: StoreInfo) -> int:
    if is_npz_row(path):  # small, but its header needs the whole file
        return 0
    try:
        return scan_bytes(read_header(path), info)
    except Exception:  # noqa: BLE001  whatever a damaged header makes a library raise
        return 0
