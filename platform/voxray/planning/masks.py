"""Whether masks are masks, and fit their images: headers of all, and the values that each mask holds."""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from voxray.errors import DataError, ScanError
from voxray.scans.formats.base import scan_errors
from voxray.scans.header import read_header
from voxray.scans.masks import check_one_channel, check_same_grid, open_mask
from voxray.storage.paths import AnyPath, join_path

THREADS = 4
MANY_VALUES = 16  # of a mask; beyond it neighbors must be alike
ALIKE = 0.5  # share of neighboring labeled voxels with one value: most in a mask, few in an image
Row = Mapping[str, str | None]  # scan_id, path, label_path


@dataclass(frozen=True)
class CheckedMask:
    """What a mask holds.

    Attributes
    ----------
    values : tuple of int
        Those in it, sorted.
    problem : str
        Why its case cannot be used; empty for one that can.
    is_image : bool
        Whether it looks like an image.
    """

    values: tuple[int, ...] = ()
    problem: str = ""
    is_image: bool = False


def check_masks(root: AnyPath, rows: Sequence[Row]) -> dict[str, CheckedMask]:
    """Check the masks of scans against their images, by headers, and read the values of those that fit.

    Parameters
    ----------
    root : path
    rows : sequence of mapping
        Scans with masks: ``scan_id``, ``path`` and ``label_path``.

    Returns
    -------
    dict of str to CheckedMask
        By scan_id.

    Raises
    ------
    DataError
        Most masks look like images.
    """
    # Reading waits for the disk and inflates, which both leave the interpreter to other threads.
    with ThreadPoolExecutor(THREADS) as pool:
        checked = list(pool.map(lambda row: _check(root, row), rows))
    images = [str(row["label_path"]) for row, mask in zip(rows, checked, strict=True) if mask.is_image]
    if 2 * len(images) > len(rows):
        reasons = {row["label_path"]: mask.problem for row, mask in zip(rows, checked, strict=True)}
        problem = f"{len(images)} of {len(rows)} masks look like images: {reasons[images[0]]}"
        raise DataError(str(root), problem, "Name the folder of the masks masks, or list images and masks in a CSV")
    return {str(row["scan_id"]): mask for row, mask in zip(rows, checked, strict=True)}


def _check(root: AnyPath, row: Row) -> CheckedMask:
    path, mask_path = str(row["path"]), str(row["label_path"])
    try:
        with scan_errors(mask_path):
            image, mask = read_header(join_path(root, path)), read_header(join_path(root, mask_path))
            check_one_channel(mask, join_path(root, mask_path), mask_path)
            check_same_grid(image, mask, path)
            return check_values(open_mask(join_path(root, mask_path)).array[0], mask_path)
    except ScanError as error:
        where = error.where.removeprefix(f"{root}/")
        return CheckedMask(problem=f"{where}: {error.problem}")


def check_values(voxels: NDArray[np.generic], where: str) -> CheckedMask:
    """The values of a mask (x, y, z), and whether they can be labels; `where` is its path."""
    values, counts = np.unique(voxels, return_counts=True)
    whole = np.isfinite(values) & (values == np.rint(values))
    if not whole.all():
        odd = values[~whole][0]
        problem = f"{where}: expected whole numbers as labels, got {odd:.6g} and {len(values):,} different values"
        return CheckedMask(problem=problem, is_image=len(values) > MANY_VALUES)
    if len(values) > MANY_VALUES and _share_alike(voxels, values[int(counts.argmax())]) < ALIKE:
        problem = f"{where} has {len(values):,} different values, and neighbors differ, got {values[0]} to {values[-1]}"
        return CheckedMask(problem=problem, is_image=True)
    return CheckedMask(tuple(int(value) for value in values))


def _share_alike(voxels: NDArray[np.generic], background: np.generic) -> float:
    """Share of neighbors along x, of voxels other than background, that have one value."""
    first, second = voxels[:-1], voxels[1:]
    labeled = (first != background) & (second != background)
    return float((first == second)[labeled].mean()) if labeled.any() else 1.0


def values_with_cases(checked: Mapping[str, CheckedMask]) -> dict[int, list[str]]:
    """The cases that have each value, by value, in ascending order."""
    cases: dict[int, list[str]] = {}
    for name, mask in checked.items():
        for value in mask.values:
            cases.setdefault(value, []).append(name)
    return dict(sorted(cases.items()))
