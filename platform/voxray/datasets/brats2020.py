"""BraTS 2020: four MR sequences of each patient, each in a file of its own, and the grade of the tumor.

``BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii`` and ``name_mapping.csv`` with the columns
``Grade`` and ``BraTS_2020_subject_ID`` (https://www.med.upenn.edu/cbica/brats2020/data.html). In the public set the
mask of patient 355 has another name, ``W39_1998.09.19_Segm.nii``.
"""

import re

from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import read_csv
from voxray.datasets.files import SUFFIXES, case_name, nifti_files
from voxray.datasets.manifest import Manifest, Row, quarantine_row, quarantine_rows, scans_table, whole_scan_samples
from voxray.storage.paths import AnyPath, is_too_long, matching, relative_path

LIST, GRADE, SUBJECT = "name_mapping.csv", "Grade", "BraTS_2020_subject_ID"
CLASSES = ("LGG", "HGG")
SEQUENCES = ("flair", "t1", "t1ce", "t2")
MASK_ENDINGS = ("_seg", "_segm")
# Folders in which the list may be: the root, or those that the public archives unpack to.
INNER = ("", "MICCAI_BraTS2020_TrainingData", "BraTS2020_TrainingData/MICCAI_BraTS2020_TrainingData")
PLAIN_NAME = re.compile(r"(?!\.)[^/\\{},]+")  # of a folder in the root

Grades = dict[str | None, int]  # of a patient in the list: each with the first row that gives it


class _UnusableError(Exception):
    """Why a patient cannot be used."""


def read_brats2020(root: AnyPath) -> Manifest:
    """List the patients of a BraTS 2020 training folder; reads no voxel.

    A patient is one scan of four channels and one sample, whose label is the grade of the tumor. Masks show where the
    tumor is; their values are not the classes.

    Parameters
    ----------
    root : path
        Holds ``name_mapping.csv`` and a folder for each patient, itself or as the public archives are unpacked.

    Raises
    ------
    DataError
        No list, or a column missing in it.
    """
    base, *others = [root / inner for inner in INNER if (root / inner / LIST).is_file()] or [root]
    listed, quarantine = _read_list(base / LIST)
    quarantine += _not_listed(root, base, listed)
    rows: list[Row] = []
    for name, grades in listed.items():
        first_row = next(iter(grades.values()))
        quarantine += _copies(root, base / name)
        try:
            rows.append({**_scan_row(root, base / name, grades), "row": first_row})
        except _UnusableError as error:
            kind = "scan" if (base / name).is_dir() else "absent"
            path, reason = relative_path(root, base / name), f"{name} {error}"
            quarantine.append(quarantine_row(name, path, reason, kind=kind, samples=1, row=first_row))
    absent = sum(row["kind"] == "absent" for row in quarantine)
    return Manifest(
        root=root,
        classes=CLASSES,
        scans=scans_table(rows),
        samples=whole_scan_samples(rows),
        quarantine=quarantine_rows(quarantine),
        notes=_notes(root, base, others, len(listed), absent),
        channels=SEQUENCES,
        masks_are_targets=False,
    )


def _read_list(path: AnyPath) -> tuple[dict[str, Grades], list[Row]]:
    """Patients by name, and quarantine rows of lines without one."""
    table = read_csv(path, (GRADE, SUBJECT), text=(GRADE, SUBJECT))
    listed: dict[str, Grades] = {}
    unnamed: list[Row] = []
    for row, (name, grade) in enumerate(zip(table[SUBJECT].to_pylist(), table[GRADE].to_pylist(), strict=True)):
        if name is None or not PLAIN_NAME.fullmatch(name) or is_too_long(name):
            reason = f"line {row + 2} of {LIST}: expected the name of a folder as {SUBJECT}, got '{name or '':.80}'"
            unnamed.append(quarantine_row(None, LIST, reason, kind="sample"))
        else:
            listed.setdefault(name, {}).setdefault(grade, row)
    return listed, unnamed


def _scan_row(root: AnyPath, folder: AnyPath, grades: Grades) -> Row:
    """Scan and sample of a patient; _UnusableError where the files or the grade cannot be used."""
    grade = _grade(folder, grades)
    names = [path.name for path in nifti_files(folder)]
    files = {sequence: _first_of(names, f"{folder.name}_{sequence}") for sequence in SEQUENCES}
    missing = [sequence for sequence, file in files.items() if file is None]
    if missing:
        raise _UnusableError(f"lacks {', '.join(missing)}; its folder holds {', '.join(names) or 'no NIfTI file'}")
    mask, path = _mask(names, folder.name), relative_path(root, folder)
    endings = ",".join(str(file).removeprefix(f"{folder.name}_") for file in files.values())
    return {
        "scan_id": folder.name,
        "path": f"{path}/{folder.name}_{{{endings}}}",
        "label_path": mask and f"{path}/{mask}",
        "label": CLASSES.index(grade),
    }


def _grade(folder: AnyPath, grades: Grades) -> str:
    if not folder.is_dir():
        raise _UnusableError(f"is listed in {LIST}, but has no folder")
    grade, *others = grades
    if others:
        raise _UnusableError(f"has different grades in {LIST}: {' and '.join(map(str, grades))}")
    if grade not in CLASSES:
        raise _UnusableError(f"needs the grade {' or '.join(CLASSES)} in {LIST}, got {grade or 'none'}")
    return str(grade)


def _mask(names: list[str], patient: str) -> str | None:
    """The mask with the usual name, or else the only one with another name."""
    usual = _first_of(names, f"{patient}_seg")
    masks = [usual] if usual else [file for file in names if case_name(file).lower().endswith(MASK_ENDINGS)]
    if len(masks) > 1:
        raise _UnusableError(f"has more than one mask: {', '.join(masks)}")
    return next(iter(masks), None)


def _first_of(names: list[str], stem: str) -> str | None:
    return next((f"{stem}{suffix}" for suffix in SUFFIXES if f"{stem}{suffix}" in names), None)


def _copies(root: AnyPath, folder: AnyPath) -> list[Row]:
    """Files that are there with the other suffix too."""
    names = [path.name for path in nifti_files(folder)] if folder.is_dir() else []
    copies = ((name, _first_of(names, case_name(name))) for name in names)
    return [
        quarantine_row(folder.name, relative_path(root, folder / name), f"{name} is not used, {first} is there too")
        for name, first in copies
        if first not in (None, name)
    ]


def _notes(root: AnyPath, base: AnyPath, others: list[AnyPath], patients: int, absent: int) -> tuple[str, ...]:
    notes = [
        f"{relative_path(root, base / LIST)} is read, and not {relative_path(root, path / LIST)}" for path in others
    ]
    return (*notes, f"{absent} of {patients} patients in {LIST} have no folder") if absent else tuple(notes)


def _not_listed(root: AnyPath, base: AnyPath, listed: dict[str, Grades]) -> list[Row]:
    """Folders of patients, and NIfTI files outside of any, that the list does not name."""
    folders = [path for path in matching(base, "*") if path.name not in listed and path.is_dir()]
    odd = [(path, path.name, f"is a folder that {LIST} does not list") for path in folders if any(nifti_files(path))]
    odd += [(path, case_name(path.name), "lies outside of any patient's folder") for path in nifti_files(base)]
    rows = []
    for path, name, reason in odd:
        text = relative_path(root, path)
        rows.append(quarantine_row(name, text, f"{text} {reason}"))
    return rows


BRATS2020 = Layout(
    "brats2020",
    read_brats2020,
    recognize=lambda root: any((root / inner / LIST).is_file() for inner in INNER),
)
