"""MosMedData: chest CTs whose class is the folder that they lie in.

``CT-0/study_0001.nii.gz`` and so on, in the root or, as the full set is packed, in ``studies`` below it. CT-0 is a
chest without findings, CT-1 to CT-4 are pneumonias of rising severity, and CT-23 is the joined folder of CT-2 and CT-3
that a well-known subset of 200 scans has (Morozov et al. 2020, https://doi.org/10.1101/2020.05.20.20100362).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from voxray.datasets.files import case_name, nifti_files
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.errors import DataError
from voxray.storage.paths import AnyPath, matching, relative_path

NORMAL, ABNORMAL = "normal", "abnormal"
FOLDERS = {"CT-0": NORMAL, **dict.fromkeys(("CT-1", "CT-2", "CT-3", "CT-4", "CT-23"), ABNORMAL)}
STUDIES = "studies"


@dataclass(frozen=True)
class Study:
    """One scan: its class, and its path relative to the root."""

    kind: str
    path: str


def read_mosmed(root: AnyPath, folders: Mapping[str, str] | None = None) -> Manifest:
    """List the scans of a MosMedData folder; reads no voxel.

    A scan is one sample, and its patient: the set has one study of each patient.

    Parameters
    ----------
    root : Place
        Holds the class folders, or ``studies`` with them.
    folders : mapping of str to str, optional
        Folder → class, in the order of the classes; all must be there. By default CT-0 is normal, every other folder of
        the public sets is abnormal, and those that are not there are not missed.

    Raises
    ------
    DataError
        No such folder, or fewer than two classes.
    """
    base = root / STUDIES if (root / STUDIES).is_dir() else root
    chosen = _choose_folders(base, folders)
    classes = tuple(dict.fromkeys((folders or FOLDERS).values()))
    if len(classes) < 2:
        raise DataError("data.folders", f"wants two or more classes, got {list(classes)}", "Give folders of another")
    scans, aside = _without_repeats(root, base, chosen)
    names = sorted(scans)
    none = [None] * len(names)
    labels = [classes.index(scans[name].kind) for name in names]
    columns = [names, names, [scans[name].path for name in names], none, none]
    samples = [names, list(range(len(names))), none, none, none, labels]
    return Manifest(
        root=root,
        classes=classes,
        scans=pa.table(dict(zip(SCANS.names, columns, strict=True)), schema=SCANS),
        samples=pa.table(dict(zip(SAMPLES.names, samples, strict=True)), schema=SAMPLES),
        quarantine=quarantine_rows(aside),
        notes=_notes(base, chosen, classes),
    )


def _choose_folders(base: AnyPath, folders: Mapping[str, str] | None) -> dict[str, str]:
    """Folder → class, of those that are there."""
    there = {name: kind for name, kind in (folders or FOLDERS).items() if (base / name).is_dir()}
    missing = [name for name in folders or () if name not in there]
    if missing:
        raise DataError(str(base), f"has no folder '{missing[0]}', which data.folders names", "Correct one of the two")
    if not there:
        problem = f"holds none of the folders {', '.join(FOLDERS)}"
        raise DataError(str(base), problem, "Set data.root to the folder that does, or name yours in data.folders")
    return there


def _without_repeats(
    root: AnyPath, base: AnyPath, chosen: Mapping[str, str]
) -> tuple[dict[str, Study], list[dict[str, object]]]:
    """Scans by name; and quarantine rows of names that occur more than once."""
    studies: dict[str, list[Study]] = {}
    for folder, kind in chosen.items():
        for file in nifti_files(base / folder, "**/*"):
            studies.setdefault(case_name(file.name), []).append(Study(kind, relative_path(root, file)))
    scans: dict[str, Study] = {}
    aside: list[dict[str, object]] = []
    for name, (first, *others) in studies.items():
        if any(other.kind != first.kind for other in others):
            places = " and ".join(f"{each.path} ({each.kind})" for each in (first, *others))
            reason = f"lies in folders of different classes: {places}"
            aside.append({"scan_id": name, "path": first.path, "kind": "scan", "samples": 1, "reason": reason})
            continue
        scans[name] = first
        for other in others:
            reason = f"{other.path} has the name of {first.path}; this second one is left out"
            aside.append({"scan_id": name, "path": other.path, "kind": "scan", "samples": 0, "reason": reason})
    return scans, aside


def _notes(base: AnyPath, chosen: Mapping[str, str], classes: tuple[str, ...]) -> tuple[str, ...]:
    of_class = {kind: [folder for folder, its in chosen.items() if its == kind] for kind in classes}
    told = "; ".join(f"{kind} is {', '.join(names)}" for kind, names in of_class.items() if names)
    notes = ["MosMedData has one study of each patient: each scan counts as one patient", told]
    others = [path.name for path in matching(base, "CT-*") if path.is_dir() and path.name not in chosen]
    if others:
        notes.append(f"{', '.join(others)}: not named in data.folders, not read")
    return tuple(notes)
