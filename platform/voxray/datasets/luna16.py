"""LUNA16: ``subset0..9/<seriesuid>.mhd`` and a list of candidates in world millimeters, LPS.

The public lists give no patient: each series counts as one.
"""

from collections import Counter
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from voxray.config.data import SUBSETS
from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import read_csv
from voxray.datasets.manifest import SAMPLES, Manifest, Row, quarantine_row, quarantine_rows, scans_table
from voxray.datasets.sphere_masks import with_sphere_masks
from voxray.errors import DataError
from voxray.storage.paths import AnyPath, matching, relative_path

CLASSES = ("other", "nodule")
LISTS = ("candidates_V2.csv", "candidates.csv")
ANNOTATIONS = ("annotations.csv", "annotations_excluded.csv")
AXES = ("x_mm", "y_mm", "z_mm")
SUBSET_NAMES = tuple(f"subset{number}" for number in range(SUBSETS))


def read_luna16(root: AnyPath, candidates: str | None = None, masks: Literal["annotations"] | None = None) -> Manifest:
    """List the scans and candidates of a LUNA16 folder; reads no voxel.

    Parameters
    ----------
    root : path
        Folder with ``subset0`` … ``subset9``; some may be missing.
    candidates : str, optional
        File name of the list; by default ``candidates_V2.csv`` where there is one, else ``candidates.csv``.
    masks : "annotations", optional
        Each scan of the list is a sample, whose mask has spheres around the points of ``annotations.csv``. With the
        same seed it is in the split in which its candidates are otherwise.

    Raises
    ------
    DataError
        No subset, no list, a column missing, a class other than 0 and 1.
    """
    subsets = [root / name for name in SUBSET_NAMES if (root / name).is_dir()]
    if not subsets:
        raise DataError(str(root), "holds none of the folders subset0 … subset9", "Set data.root to a LUNA16 folder")
    path = root / (candidates or next((file for file in LISTS if (root / file).is_file()), LISTS[-1]))
    listed = _read_candidates(path)
    scans, duplicates = _find_scans(root, subsets)
    known = pc.is_in(listed["scan_id"], value_set=scans["scan_id"])
    x, y, z = (pc.fill_null(pc.is_finite(listed[axis]), False) for axis in AXES)
    finite = pc.and_(pc.and_(x, y), z)
    usable = pc.and_(known, finite)
    samples = listed.filter(usable)
    quarantine = duplicates + _absent(listed.filter(pc.invert(known))) + _not_finite(listed, known, finite)
    manifest = Manifest(
        root=root,
        classes=CLASSES,
        scans=scans,
        samples=samples,
        quarantine=quarantine_rows(quarantine),
        notes=(_list_note(root, path.name, listed.num_rows), *_notes(subsets, scans, listed, known)),
        subsets=_subsets_with(samples, scans),
    )
    return manifest if masks is None else with_sphere_masks(manifest, ANNOTATIONS[0])


def _read_candidates(path: AnyPath) -> pa.Table:
    columns = ("seriesuid", "coordX", "coordY", "coordZ", "class")
    table = read_csv(path, columns, text=("seriesuid",), numbers=columns[1:])
    classes = _numbers(table["class"])
    odd = table["class"].filter(pa.array(~np.isin(classes, [0, 1])))
    if len(odd):
        raise DataError(str(path), f"column 'class': expected 0 or 1, got {odd[0]}", "Correct these rows")
    # LPS to RAS: the first two axes change sign.
    x, y, z = (_numbers(table[column]) for column in columns[1:4])
    rows = np.arange(table.num_rows)
    values = [table["seriesuid"].combine_chunks(), rows, -x, -y, z, classes.astype(np.int64)]
    return pa.table(dict(zip(SAMPLES.names, values, strict=True)), schema=SAMPLES)


def _numbers(column: pa.ChunkedArray) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """The numbers of a column; NaN where a cell is empty."""
    return np.asarray(column.to_numpy(), dtype=np.float64)


def _find_scans(root: AnyPath, subsets: list[AnyPath]) -> tuple[pa.Table, list[Row]]:
    paths: dict[str, AnyPath] = {}
    duplicates: list[Row] = []
    for subset in subsets:
        for path in matching(subset, "*.mhd"):
            first = paths.setdefault(path.stem, path)
            if first != path:
                reason = f"series also in {first.parent.name}; this second copy is not used"
                duplicates.append(quarantine_row(path.stem, relative_path(root, path), reason))
    rows: list[Row] = [{"scan_id": name, "path": relative_path(root, paths[name])} for name in sorted(paths)]
    return scans_table(rows), duplicates


def _subsets_with(samples: pa.Table, scans: pa.Table) -> tuple[int, ...]:
    """Numbers of the subsets that hold scans with samples."""
    sampled = scans.filter(pc.is_in(scans["scan_id"], value_set=samples["scan_id"].unique()))
    folders = {path.partition("/")[0] for path in sampled["path"].to_pylist()}
    return tuple(number for number, name in enumerate(SUBSET_NAMES) if name in folders)


def _absent(lost: pa.Table) -> list[Row]:
    counts = Counter(lost["scan_id"].to_pylist())
    return [
        quarantine_row(name, None, f"no subset folder holds {name}.mhd", kind="absent", samples=counts[name])
        for name in sorted(counts, key=str)
    ]


def _not_finite(listed: pa.Table, known: pa.ChunkedArray, finite: pa.ChunkedArray) -> list[Row]:
    rows = []
    for sample in listed.filter(pc.and_(known, pc.invert(finite))).to_pylist():
        reason = f"coordinates are not numbers: {[sample[axis] for axis in AXES]}"
        rows.append(quarantine_row(sample["scan_id"], None, reason, kind="sample", samples=1, row=sample["row"]))
    return rows


def _list_note(root: AnyPath, name: str, candidates: int) -> str:
    """Which list was read; LUNA16 has published two, which differ."""
    others = [file for file in LISTS if file != name and (root / file).is_file()]
    unread = f"; {others[0]} is there too and is not read, data.candidates names the list" if others else ""
    return f"{candidates:,} candidates of {name}{unread}"


def _notes(subsets: list[AnyPath], scans: pa.Table, listed: pa.Table, known: pa.ChunkedArray) -> tuple[str, ...]:
    notes = ["LUNA16 names no patients: each series counts as one patient"]
    missing = [name for name in SUBSET_NAMES if name not in {subset.name for subset in subsets}]
    if missing:
        lost = listed.num_rows - pc.sum(known).as_py()
        notes.append(f"{', '.join(missing)} missing; {lost:,} candidates of absent scans are not used")
    without = scans.num_rows - len(pc.unique(listed.filter(known)["scan_id"]))
    if without:
        notes.append(f"{without} scans have no candidate and are not read")
    return tuple(notes)


def _is_luna16(root: AnyPath) -> bool:
    has_list = any((root / name).is_file() for name in LISTS)
    return has_list and any((root / name).is_dir() for name in SUBSET_NAMES)


LUNA16 = Layout(
    "luna16",
    read_luna16,
    ("candidates", "masks"),
    recognize=_is_luna16,
    unit="HU",
    samples_points=True,
    annotations=ANNOTATIONS,
)
