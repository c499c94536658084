"""MosMedData: chest CTs whose class is the folder that they lie in.

``CT-0/study_0001.nii.gz`` and so on, in the root or, as the full set is packed, in ``studies`` below it. CT-0 is a
chest without findings, CT-1 to CT-4 are pneumonias of rising severity, and CT-23 is the joined folder of CT-2 and CT-3
that a well-known subset of 200 scans has (Morozov et al. 2020, https://doi.org/10.1101/2020.05.20.20100362).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from voxray.datasets.base import Layout
from voxray.datasets.files import case_name, nifti_files, scan_names
from voxray.datasets.manifest import Manifest, Row, quarantine_row, quarantine_rows, scans_table, whole_scan_samples
from voxray.errors import DataError
from voxray.storage.paths import AnyPath, matching, relative_path

NORMAL, ABNORMAL = "normal", "abnormal"
FOLDERS = {"CT-0": NORMAL, **dict.fromkeys(("CT-1", "CT-2", "CT-3", "CT-4", "CT-23"), ABNORMAL)}
STUDIES = "studies"


@dataclass(frozen=True)
class Study:
    """One scan: its class, and its path relative to the root."""

    class_name: str
    path: str


def read_mosmed(root: AnyPath, folders: Mapping[str, str] | None = None) -> Manifest:
    """List the scans of a MosMedData folder; reads no voxel.

    A scan is one sample, and its patient: the set has one study of each patient.

    Parameters
    ----------
    root : path
        Holds the class folders, or ``studies`` with them.
    folders : mapping of str to str, optional
        Folder to class, in the order of the classes; all must exist. By default CT-0 is normal and the other folders
        of the public sets are abnormal; any of them may be missing.

    Raises
    ------
    DataError
        No such folder, or fewer than two classes.
    """
    base = root / STUDIES if (root / STUDIES).is_dir() else root
    chosen = _choose_folders(base, folders)
    classes = tuple(dict.fromkeys((folders or FOLDERS).values()))
    if len(classes) < 2:
        raise DataError("data.folders", f"expected two or more classes, got {list(classes)}", "Add a class")
    studies, quarantine = _without_repeats(root, base, chosen)
    rows: list[Row] = [
        {"scan_id": name, "path": study.path, "row": row, "label": classes.index(study.class_name)}
        for row, (name, study) in enumerate(sorted(studies.items()))
    ]
    return Manifest(
        root=root,
        classes=classes,
        scans=scans_table(rows),
        samples=whole_scan_samples(rows),
        quarantine=quarantine_rows(quarantine),
        notes=_notes(root, base, chosen),
    )


def _choose_folders(base: AnyPath, folders: Mapping[str, str] | None) -> dict[str, str]:
    """The existing folders, each with its class."""
    existing = {name: kind for name, kind in (folders or FOLDERS).items() if (base / name).is_dir()}
    if missing := (folders or {}).keys() - existing.keys():
        problem = f"has no folder '{min(missing)}', which data.folders names"
        raise DataError(str(base), problem, "Correct one of the two")
    if not existing:
        problem = f"holds none of the folders {', '.join(FOLDERS)}"
        raise DataError(str(base), problem, "Set data.root to the folder that does, or name yours in data.folders")
    return existing


def _without_repeats(root: AnyPath, base: AnyPath, chosen: Mapping[str, str]) -> tuple[dict[str, Study], list[Row]]:
    """Scans by name; and quarantine rows of files that lie in several class folders, or are there with two suffixes."""
    studies: dict[str, list[Study]] = {}  # by the path below the class folder, without suffix
    for folder, kind in chosen.items():
        for file in nifti_files(base / folder, "**/*"):
            parent = relative_path(base / folder, file).rpartition("/")[0]
            place = f"{parent}/{case_name(file.name)}" if parent else case_name(file.name)
            studies.setdefault(place, []).append(Study(kind, relative_path(root, file)))
    scans: dict[str, Study] = {}
    quarantine: list[Row] = []
    names = scan_names({place: case_name(study[0].path) for place, study in studies.items()})
    for place, (first, *copies) in studies.items():
        name = names[place]
        if any(copy.class_name != first.class_name for copy in copies):
            paths = " and ".join(f"{study.path} ({study.class_name})" for study in (first, *copies))
            reason = f"is in folders of different classes: {paths}"
            quarantine.append(quarantine_row(name, first.path, reason, samples=1))
            continue
        scans[name] = first
        for copy in copies:
            reason = f"{copy.path} has the name of {first.path}; this second file is not used"
            quarantine.append(quarantine_row(name, copy.path, reason))
    return scans, quarantine


def _notes(root: AnyPath, base: AnyPath, chosen: Mapping[str, str]) -> tuple[str, ...]:
    folders_of: dict[str, list[str]] = {}
    for folder, class_name in chosen.items():
        folders_of.setdefault(class_name, []).append(folder)
    summary = "; ".join(f"{class_name} is {', '.join(folders)}" for class_name, folders in folders_of.items())
    notes = ["MosMedData has one study of each patient: each scan counts as one patient", summary]
    others = [path.name for path in matching(base, "CT-*") if path.is_dir() and path.name not in chosen]
    notes += [f"{', '.join(others)}: not named in data.folders, not read"] if others else []
    outside = [path.name for path in matching(root, "CT-*") if path.is_dir()] if base != root else []
    notes += [f"{', '.join(outside)}: not below {STUDIES}, not read"] if outside else []
    return tuple(notes)


MOSMED = Layout(
    "mosmed",
    read_mosmed,
    ("folders",),
    recognize=lambda root: any((root / base / name).is_dir() for base in ("", STUDIES) for name in FOLDERS),
    unit="HU",
)
