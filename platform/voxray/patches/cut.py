"""A volume and settings → boxes, and the patches in them. Pure: no file is opened here."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from voxray.config.data import PatchesSpec
from voxray.config.labels import MaskLabels, mask_labels
from voxray.errors import EmptyScanError, ScanError
from voxray.patches.foreground import draw_boxes, grid_boxes, random_boxes, whole_box
from voxray.patches.slices import slice_boxes
from voxray.scans.geometry import check_spacing, world_to_voxel
from voxray.scans.intensity import clip_voxels, statistics_rows, volume_statistics
from voxray.scans.masks import check_finite, check_label, check_same_grid, is_labeled
from voxray.scans.read import fetch_regions, read_region
from voxray.scans.resample import resample, resize
from voxray.volume import PatchBox, Volume

MASK_DTYPE = np.dtype("uint8")
DRAWN = ("random", "foreground")  # samplings that draw boxes

Boxes = Sequence[PatchBox | ScanError]


@dataclass(frozen=True)
class CutSettings:
    """What the patches of a scan depend on, besides the scan itself.

    Attributes
    ----------
    masks : bool
        Whether each patch has a label map of the classes.
    statistics : bool
        Whether a batch needs statistics of the whole scan.
    windows : sequence of (low, high), optional
        What voxels are clipped to before a scan is resized.
    """

    patches: PatchesSpec
    dtype: str
    channels: int
    labels: MaskLabels
    masks: bool
    seed: int
    statistics: bool
    windows: Sequence[Sequence[float]] | None

    @classmethod
    def from_provenance(
        cls, provenance: Mapping[str, Any], channels: int, classes: tuple[str, ...], *, masks: bool
    ) -> "CutSettings":
        """The settings in the provenance of a store, see `voxray.patches.plan.store_provenance`."""
        patches, dtype = PatchesSpec.model_validate(provenance["patches"]), provenance["store"]["dtype"]
        rest = (int(provenance["seed"]), bool(provenance["statistics"]), provenance["windows"])
        labels = mask_labels(classes, provenance.get("labels", {})) if masks else MaskLabels(classes)
        return cls(patches, dtype, channels, labels, masks, *rest)

    @property
    def needs_mask(self) -> bool:
        """Whether a scan cannot be cut without its mask."""
        return self.masks or self.patches.needs_masks

    @property
    def needs_regions_only(self) -> bool:
        """Whether no voxel of a scan is used but those of its patches."""
        whole = self.patches.spacing_mm is not None or self.patches.sampling == "resized"
        return not (whole or self.masks or self.statistics)


@dataclass(frozen=True, eq=False)
class Patch:
    """A box of a volume, copied.

    Attributes
    ----------
    box : PatchBox
    image : ndarray, (channel, x, y, z)
    mask : ndarray of uint8, (x, y, z), optional
    """

    box: PatchBox
    image: NDArray[np.generic]
    mask: NDArray[np.generic] | None


def prepare_volume(
    volume: Volume, mask: Volume | None, settings: CutSettings, where: str
) -> tuple[Volume, Volume | None]:
    """Bring a scan to the grid that its patches are cut from, and check it.

    Parameters
    ----------
    volume, mask : Volume
        In canonical axes. A mask that the settings do not need is ignored.
    where : str
        Name of the scan in messages.

    Returns
    -------
    Volume
        Resampled or resized, as the settings say; the same object where they do neither.
    Volume, optional
        The mask on that grid, (1, x, y, z) uint8: the numbers of its values where they are learned, else 1 where
        anything is labeled.

    Raises
    ------
    EmptyScanError
        The mask has no foreground, and such scans are left out.
    ScanError
        Wrong channels, an implausible spacing, no mask where one is needed, or a mask that does not fit the scan.
    """
    check_channels(volume, settings.channels, where)
    check_spacing(volume, settings.patches.spacing_range_mm, where)
    region = _foreground(volume, mask, settings, where) if settings.needs_mask else None
    if settings.patches.spacing_mm is not None:
        volume = resample(volume, settings.patches.spacing_mm, 1, where)
        region = None if region is None else resample(region, settings.patches.spacing_mm, 0, where)
    return (_resized(volume, settings, where) if settings.patches.sampling == "resized" else volume), region


def check_channels(volume: Volume, channels: int, where: str) -> None:
    """Raise ScanError where a volume has another number of channels."""
    if len(volume.array) != channels:
        problem = f"expected {channels} channel{'' if channels == 1 else 's'}, got {len(volume.array)}"
        raise ScanError(where, problem, "Give the channels that the other scans of the data set have")


def scan_statistics(volume: Volume, settings: CutSettings) -> list[list[float]] | None:
    """Statistics of a prepared scan, (6, channel), as `voxray.scans.intensity.STATISTICS` names them, if used."""
    return statistics_rows(volume_statistics(volume.array)) if settings.statistics else None


def scan_number(volume: Volume, settings: CutSettings) -> int:
    """A number for the random boxes of a scan; 0 where none are drawn.

    It depends on the shape and the voxels in the middle alone, so that a scan has the same boxes whatever its name, its
    format, its shard and the order of work: those that a network is evaluated with are those that it predicts with.

    Parameters
    ----------
    volume : Volume
        In canonical axes, as it was read.
    """
    if settings.patches.sampling not in DRAWN:
        return 0
    box = middle_box(volume, settings.patches.size)
    fetch_regions(volume, [box])
    voxels = read_region(volume, box, settings.patches.pad_value).astype("<f8")
    return int.from_bytes(hashlib.sha256(f"{volume.shape}".encode() + voxels.tobytes()).digest()[:8], "big")


def middle_box(volume: Volume, size: tuple[int, int, int]) -> PatchBox:
    """A patch's width in the scan's middle slice."""
    x, y, z = np.minimum(volume.shape, (*size[:2], 1)).tolist()
    i, j, k = (np.subtract(volume.shape, (x, y, z)) // 2).tolist()
    return PatchBox((i, j, k), (x, y, z))


def choose_boxes(
    volume: Volume,
    mask: Volume | None,
    settings: CutSettings,
    where: str,
    *,
    number: int = 0,
    centers_mm: NDArray[np.float64] | None = None,
) -> Boxes:
    """All boxes of a scan, always in the same order.

    Parameters
    ----------
    volume, mask : Volume
        As `prepare_volume` returns them.
    where : str
        Name of the scan in messages.
    number : int
        From `scan_number`; with the seed it determines random boxes.
    centers_mm : ndarray, (n, 3), optional
        World RAS, for sampling = 'center' alone; without them one box in the middle.

    Returns
    -------
    sequence of PatchBox or ScanError
        An error stands where a box cannot be had.
    """
    spec, region = settings.patches, None if mask is None else mask.array[0]
    if region is not None and settings.labels.ignored is not None:
        region = is_labeled(region)
    if spec.sampling == "center":
        return center_boxes(volume, centers_mm, spec.size)
    if spec.sampling in ("whole", "resized"):
        return [whole_box(volume.shape, spec.size, where)]
    if spec.sampling == "grid":
        return grid_boxes(volume.shape, spec.size)
    if spec.sampling == "slices":
        return slice_boxes(volume.shape, spec.size, spec.patches_per_scan, region)
    rng = np.random.default_rng([settings.seed, number])
    if spec.sampling == "random" or region is None:
        return random_boxes(volume.shape, spec.size, spec.patches_per_scan, rng)
    return draw_boxes(region, spec.size, spec.patches_per_scan, spec.min_foreground, rng)


def center_boxes(volume: Volume, centers_mm: NDArray[np.float64] | None, size: tuple[int, int, int]) -> Boxes:
    """The boxes around points.

    In plane a box may extend beyond the border. Along z it is shifted inside the volume, as long as the volume has
    enough slices.

    Parameters
    ----------
    centers_mm : ndarray, (n, 3), optional
        World RAS; None means one box in the middle of the volume.

    Returns
    -------
    list of PatchBox or ScanError
        An error stands where a center lies outside the volume.
    """
    shape, extent = np.array(volume.shape), np.array(size)
    middle = (shape // 2).astype(float)[None]
    centers = middle if centers_mm is None else world_to_voxel(volume.affine, centers_mm)
    starts = np.floor(centers + 0.5).astype(int) - extent // 2
    spare = int(shape[2] - extent[2])
    starts[:, 2] = np.clip(starts[:, 2], 0, spare) if spare >= 0 else -(-spare // 2)
    outside = np.any((centers < -0.5) | (centers > shape - 0.5), axis=1).tolist()
    return [
        _outside(volume, center) if lost else PatchBox((start[0], start[1], start[2]), size)
        for start, center, lost in zip(starts.tolist(), centers, outside, strict=True)
    ]


def cut_patches(
    volume: Volume, mask: Volume | None, boxes: Boxes, settings: CutSettings, names: Sequence[str]
) -> list[Patch | ScanError]:
    """Copy the patches of a scan from `prepare_volume`; `names` are those of the patches in messages.

    Returns
    -------
    list of Patch or ScanError
        An error for each box that is one, and where a patch cannot be stored in the settings' dtype.
    """
    mask = mask if settings.masks else None
    return [_cut(volume, mask, box, settings, name) for box, name in zip(boxes, names, strict=True)]


def cut_patch(
    volume: Volume, box: PatchBox, pad_value: float, dtype: np.dtype[np.generic], where: str
) -> NDArray[np.generic]:
    """Copy a box in the store's dtype.

    Returns
    -------
    ndarray, (channel, x, y, z)

    Raises
    ------
    ScanError
        A voxel is not finite, or the dtype cannot hold it without loss.
    """
    same = volume.array.dtype == dtype
    patch = read_region(volume, box, pad_value) if same else _converted(volume, box, pad_value, dtype, where)
    if patch.dtype.kind == "f" and not np.isfinite(patch).all():
        raise ScanError(where, "holds voxels that are not finite numbers", "Fetch or convert the scan again")
    return patch


def _foreground(volume: Volume, mask: Volume | None, settings: CutSettings, where: str) -> Volume:
    if mask is None:
        raise ScanError(where, "has no mask, which its patches are chosen by", "Give its mask, or leave the scan out")
    if settings.masks:
        classes = check_label(volume, mask, settings.labels, where)
    else:
        check_same_grid(volume, mask, where)
        classes = (mask.array[0] != 0).astype(MASK_DTYPE)
    if not settings.patches.keep_empty and not is_labeled(classes).any():
        remedy = "Set patches.keep_empty = true to keep it as a negative"
        raise EmptyScanError(where, "has no foreground, and patches.keep_empty is off", remedy)
    return Volume(classes[None], volume.affine)


def _resized(volume: Volume, settings: CutSettings, where: str) -> Volume:
    """The whole scan in the patch's size. Interpolated values are rounded for a store of integers."""
    check_finite(volume, where)
    array = volume.array if settings.windows is None else clip_voxels(volume.array, settings.windows)
    small = resize(Volume(array, volume.affine), settings.patches.size, where)
    rounded = np.dtype(settings.dtype).kind in "iu" and small.array.dtype.kind == "f"
    return Volume(np.rint(small.array), small.affine) if rounded else small


def _outside(volume: Volume, center: NDArray[np.float64]) -> ScanError:
    at = ", ".join(f"{value:.1f}" for value in center)
    extent = "x".join(map(str, volume.shape))
    return ScanError("sample", f"its center lies outside the scan: voxel ({at}) of {extent}", "Correct the list")


def _cut(
    volume: Volume, mask: Volume | None, box: PatchBox | ScanError, settings: CutSettings, where: str
) -> Patch | ScanError:
    if isinstance(box, ScanError):
        return ScanError(where, box.problem, box.remedy)
    try:
        image = cut_patch(volume, box, settings.patches.pad_value, np.dtype(settings.dtype), where)
        return Patch(box, image, None if mask is None else cut_patch(mask, box, 0, MASK_DTYPE, where)[0])
    except ScanError as error:
        return error


def _converted(
    volume: Volume, box: PatchBox, pad_value: float, dtype: np.dtype[np.generic], where: str
) -> NDArray[np.generic]:
    low = np.maximum(box.start, 0)
    high = np.maximum(np.minimum(np.add(box.start, box.size), volume.shape), low)
    part = volume.array[(slice(None), *map(slice, low.tolist(), high.tolist()))]
    with np.errstate(invalid="ignore"):
        cast = part.astype(dtype)
    # A float is kept to the precision of the store's dtype; whole numbers are kept exactly.
    rounding = dtype.kind == "f" and part.dtype.kind == "f"
    lost = np.isfinite(part) & ~np.isfinite(cast) if rounding else cast != part
    if lost.any():
        problem = f"store.dtype '{dtype}' cannot hold its value {part[lost][0]}"
        raise ScanError(where, problem, "Set store.dtype = 'float32'")
    x, y, z = np.subtract(box.start, low).tolist()
    return read_region(Volume(cast, volume.affine), PatchBox((x, y, z), box.size), pad_value)
