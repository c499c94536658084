"""BraTS 2020: four MR sequences of each patient, each in a file of its own, and the grade of the tumor.

``BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii`` and ``name_mapping.csv`` with the columns
``Grade`` and ``BraTS_2020_subject_ID`` (https://www.med.upenn.edu/cbica/brats2020/data.html). In the public set the
mask of patient 355 has kept the name that it had where it was drawn, ``W39_1998.09.19_Segm.nii``.
"""

from dataclasses import dataclass

import pyarrow as pa

from voxray.datasets.files import SUFFIXES, case_name, nifti_files
from voxray.datasets.manifest import SAMPLES, SCANS, Manifest, quarantine_rows
from voxray.datasets.tables import read_csv
from voxray.storage.paths import AnyPath, matching, relative_path

LIST, GRADE, SUBJECT = "name_mapping.csv", "Grade", "BraTS_2020_subject_ID"
CLASSES = ("LGG", "HGG")
SEQUENCES = ("flair", "t1", "t1ce", "t2")
MASK_ENDINGS = ("_seg", "_segm")
# Where the list lies: in the root, or in the folders that the public archives unpack to.
INNER = ("", "MICCAI_BraTS2020_TrainingData", "BraTS2020_TrainingData/MICCAI_BraTS2020_TrainingData")

Row = dict[str, object]


@dataclass(frozen=True)
class Listed:
    """A patient in the list: the first row that names it, and the different grades that it is given."""

    row: int
    grades: tuple[str | None, ...]


@dataclass(frozen=True)
class Files:
    """Names in a patient's folder: the four sequences as one scan, and the mask if there is one."""

    image: str
    mask: str | None


def read_brats2020(root: AnyPath) -> Manifest:
    """List the patients of a BraTS 2020 training folder; reads no voxel.

    A patient is one scan of four channels and one sample, whose label is the tumor's grade. Masks say where the tumor
    is; they are not what is learned.

    Parameters
    ----------
    root : Place
        Holds ``name_mapping.csv`` and a folder for each patient, itself or as the public archives are unpacked.

    Raises
    ------
    DataError
        No list, or a column missing in it.
    """
    base = next((root / inner for inner in INNER if (root / inner / LIST).is_file()), root)
    listed, unnamed = _read_list(base / LIST)
    scans: list[Row] = []
    samples: list[Row] = []
    aside = [*unnamed, *_not_listed(root, base, listed)]
    for name, patient in listed.items():
        path = relative_path(root, base / name)
        found = _find_files(base / name, patient.grades)
        if isinstance(found, str):
            kind = "scan" if (base / name).is_dir() else "absent"
            one = {"scan_id": name, "path": path, "row": patient.row, "kind": kind, "samples": 1}
            aside.append({**one, "reason": f"{name} {found}"})
            continue
        mask = None if found.mask is None else f"{path}/{found.mask}"
        scans.append({"scan_id": name, "patient_id": name, "path": f"{path}/{found.image}", "label_path": mask})
        samples.append({"scan_id": name, "row": patient.row, "label": CLASSES.index(patient.grades[0])})
    absent = sum(row["kind"] == "absent" for row in aside)
    return Manifest(
        root=root,
        classes=CLASSES,
        scans=pa.Table.from_pylist(scans, schema=SCANS),
        samples=pa.Table.from_pylist(samples, schema=SAMPLES),
        quarantine=quarantine_rows(aside),
        notes=(f"{absent} of {len(listed)} patients in {LIST} have no folder",) if absent else (),
        channels=SEQUENCES,
        masks_are_targets=False,
    )


def _read_list(path: AnyPath) -> tuple[dict[str, Listed], list[Row]]:
    """Patients by name; and quarantine rows of lines without one."""
    table = read_csv(path, (GRADE, SUBJECT), text=(GRADE, SUBJECT))
    listed: dict[str, Listed] = {}
    unnamed: list[Row] = []
    for row, (name, grade) in enumerate(zip(*(table[each].to_pylist() for each in (SUBJECT, GRADE)), strict=True)):
        if name is None or "/" in name:
            reason = f"line {row + 2} of {LIST} wants the name of a folder as {SUBJECT}, got '{name or ''}'"
            unnamed.append({"scan_id": None, "path": LIST, "kind": "sample", "samples": 0, "reason": reason})
            continue
        known = listed.get(name, Listed(row, ()))
        listed[name] = Listed(known.row, tuple(dict.fromkeys([*known.grades, grade])))
    return listed, unnamed


def _find_files(folder: AnyPath, grades: tuple[str | None, ...]) -> Files | str:
    """The files of a patient, or why it cannot be used."""
    if not folder.is_dir():
        return f"stands in {LIST}, but there is no such folder"
    if len(grades) > 1:
        return f"has different grades in {LIST}: {' and '.join(map(str, grades))}"
    if grades[0] not in CLASSES:
        return f"wants the grade {' or '.join(CLASSES)} in {LIST}, got {grades[0] or 'none'}"
    there = [path.name for path in nifti_files(folder)]
    files = {each: _first_of(there, f"{folder.name}_{each}") for each in SEQUENCES}
    missing = [each for each, file in files.items() if file is None]
    if missing:
        return f"lacks {', '.join(missing)}; its folder holds {', '.join(there) or 'no NIfTI file'}"
    endings = [str(file).removeprefix(f"{folder.name}_") for file in files.values()]
    # Whatever else is called a mask is taken for it where the usual name is not there.
    masks = [file for file in there if case_name(file).lower().endswith(MASK_ENDINGS)]
    mask = _first_of(there, f"{folder.name}_seg")
    if mask is None and len(masks) > 1:
        return f"has more than one mask: {', '.join(masks)}"
    return Files(f"{folder.name}_{{{','.join(endings)}}}", mask or next(iter(masks), None))


def _first_of(there: list[str], name: str) -> str | None:
    return next((f"{name}{suffix}" for suffix in SUFFIXES if f"{name}{suffix}" in there), None)


def _not_listed(root: AnyPath, base: AnyPath, listed: dict[str, Listed]) -> list[Row]:
    """Folders of patients, and NIfTI files outside of any, that the list does not name."""
    rows: list[Row] = []
    folders = [path for path in matching(base, "*") if path.is_dir() and any(nifti_files(path))]
    for path in [*(each for each in folders if each.name not in listed), *nifti_files(base)]:
        text = relative_path(root, path)
        what = f"is a folder that {LIST} does not list" if path.is_dir() else "lies outside of any patient's folder"
        names = {"scan_id": path.name if path.is_dir() else case_name(path.name), "path": text}
        rows.append({**names, "kind": "scan", "samples": 0, "reason": f"{text} {what}"})
    return rows
