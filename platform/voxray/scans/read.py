"""Open scans of any format: `open_scan` returns a Volume whose voxels are read when they are used."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from voxray.scans.formats.base import check_voxels, scan_errors
from voxray.scans.formats.channels import channel_files, join_channels
from voxray.scans.formats.registry import find_format
from voxray.scans.geometry import canonical_volume, check_affine
from voxray.storage.paths import AnyPath
from voxray.volume import PatchBox, Volume


def open_scan(path: AnyPath, *, by_regions: bool = False) -> Volume:
    """Open a scan in canonical axes.

    An uncompressed MetaImage is memory-mapped, so that reading a region costs its own bytes only; other formats are
    decoded whole, once. In object storage such a MetaImage is fetched whole too, unless `by_regions` is set: then
    `fetch_regions` must name the regions before they are used; anything else reads as zeros.

    Parameters
    ----------
    path : path
        A file of a format in `voxray.scans.formats.registry.FORMATS`; or an image of a stack, ``FILE.npz/MEMBER/ROW``;
        or the mask of a list of annotations, ``LIST.csv/SCAN.mhd/spheres``;
        or files that are the channels of one scan, ``a_{t1,t2}.nii``; or a DICOM series, by its folder or one of its
        files.

    Returns
    -------
    Volume
        (channel, x, y, z) in the scan's own numbers. Pictures have one z and the identity as affine;
        x runs along a line of the picture and y from line to line.

    Raises
    ------
    ScanError
        With the reason why this scan cannot be used.
    """
    volume = open_file(path, by_regions=by_regions)
    if not find_format(channel_files(path)[0]).oriented:
        return volume
    return replace(canonical_volume(volume.array, volume.affine), fetch=volume.fetch)


def open_file(path: AnyPath, *, by_regions: bool = False) -> Volume:
    """Open a scan as `open_scan` does, but in the axes (channel, i, j, k) of its file, with their affine."""
    files = channel_files(path)
    if len(files) > 1:
        return join_channels([open_file(file) for file in files], [file.name for file in files], str(path))
    known = find_format(path)
    with scan_errors(path):
        volume = known.read(path)
        check_voxels(len(volume.array), volume.shape, volume.array.dtype, str(path))
        if volume.fetch is not None and not by_regions:
            volume.fetch([volume.array])
            volume = replace(volume, fetch=None)
    check_affine(volume.affine, str(path))
    return volume


def fetch_regions(volume: Volume, boxes: Sequence[PatchBox]) -> None:
    """Fetch boxes of a volume from object storage in one go, if it was opened with `by_regions`."""
    if volume.fetch is not None:
        volume.fetch([volume.array[(slice(None), *_inside(volume, box))] for box in boxes])


def _inside(volume: Volume, box: PatchBox) -> list[slice]:
    """The part of a box inside a volume."""
    return [
        slice(min(max(low, 0), extent), max(min(low + size, extent), 0))
        for low, size, extent in zip(box.start, box.size, volume.shape, strict=True)
    ]


def read_region(volume: Volume, box: PatchBox, pad_value: float) -> NDArray[np.generic]:
    """Copy a box out of a volume, contiguous and in its dtype; voxels outside the volume become `pad_value`."""
    spans = _inside(volume, box)
    inside = volume.array[(slice(None), *spans)]
    if inside.shape[1:] == box.size:
        return np.ascontiguousarray(inside)
    region = np.full((inside.shape[0], *box.size), pad_value, inside.dtype)
    targets = (slice(span.start - low, span.stop - low) for span, low in zip(spans, box.start, strict=True))
    region[(slice(None), *targets)] = inside
    return region
