"""Scans with one file for each channel: one path names all files, and one volume holds them."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from voxray.errors import ScanError
from voxray.scans.geometry import corners_apart_mm, extent
from voxray.storage.paths import AnyPath, named_files, to_path
from voxray.volume import Volume

TOLERANCE_MM = 0.05


def channel_files(path: AnyPath) -> list[AnyPath]:
    """The files of a scan, in the order of its channels.

    A path that ends in a name with a list in braces names several files, as in a shell: ``a_{t1,t2}.nii`` is
    ``a_t1.nii`` and ``a_t2.nii``, ``{images/a.nii,masks/a.nii}`` files in two folders. Every other path names one
    file.
    """
    files = named_files(str(path))
    return [path] if files == [str(path)] else [to_path(file) for file in files]


def join_channels(volumes: Sequence[Volume], names: Sequence[str], where: str) -> Volume:
    """One volume of all channels, of files that `names` name; ScanError if their shapes or affines differ.

    Returns
    -------
    Volume
        (channel, i, j, k) in the axes of the files, of the smallest dtype that holds all of them, with the affine of
        the first.
    """
    check_one_grid([(volume.shape, volume.affine) for volume in volumes], names, where)
    channels = [channel for volume in volumes for channel in volume.array]
    # In memory as a NIfTI file of several channels: x runs fastest and the channel slowest.
    joined = np.stack([channel.T for channel in channels])
    return Volume(joined.transpose(0, 3, 2, 1), volumes[0].affine)


def check_one_grid(
    grids: Sequence[tuple[tuple[int, int, int], NDArray[np.float64]]], names: Sequence[str], where: str
) -> None:
    """Raise ScanError if the shapes or affines of a scan's files differ."""
    shape, affine = grids[0]
    for (other_shape, other_affine), name in zip(grids[1:], names[1:], strict=True):
        if other_shape != shape:
            shapes = f"{extent(shape)} in {names[0]} and {extent(other_shape)} in {name}"
            raise ScanError(where, f"its files have different shapes, got {shapes}", "Fetch it again")
        _, apart = corners_apart_mm(shape, affine, other_affine)
        # Written so that a NaN fails the check too.
        if not (apart <= TOLERANCE_MM).all():
            problem = f"{name} has another position than {names[0]}, got {np.max(apart):.4g} mm between their corners"
            raise ScanError(where, problem, "Give all its files the same affine")
