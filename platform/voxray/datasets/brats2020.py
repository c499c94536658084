"""BraTS 2020: four MR sequences of each patient, each in a file of its own, and the grade of the tumor.

``BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii`` and ``name_mapping.csv`` with the columns
``Grade`` and ``BraTS_2020_subject_ID`` (https://www.med.upenn.edu/cbica/brats2020/data.html). In the public set the
mask of patient 355 has another name, ``W39_1998.09.19_Segm.nii``.
"""

from dataclasses import dataclass

from voxray.datasets.base import Layout
from voxray.datasets.csv_lists import read_csv
from voxray.datasets.files import SUFFIXES, case_name, nifti_files
from voxray.datasets.manifest import Manifest, Row, quarantine_row, quarantine_rows, scans_table, whole_scan_samples
from voxray.storage.paths import AnyPath, matching, relative_path

LIST, GRADE, SUBJECT = "name_mapping.csv", "Grade", "BraTS_2020_subject_ID"
CLASSES = ("LGG", "HGG")
SEQUENCES = ("flair", "t1", "t1ce", "t2")
MASK_ENDINGS = ("_seg", "_segm")
# Folders in which the list may be: the root, or those that the public archives unpack to.
INNER = ("", "MICCAI_BraTS2020_TrainingData", "BraTS2020_TrainingData/MICCAI_BraTS2020_TrainingData")


@dataclass(frozen=True)
class Listed:
    """A patient in the list: its first row, and the different grades of all its rows."""

    row: int
    grades: tuple[str | None, ...]


@dataclass(frozen=True)
class Files:
    """Names in a patient's folder: the four sequences as one scan, and the mask if there is one."""

    image: str
    mask: str | None


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
    base = next((root / inner for inner in INNER if (root / inner / LIST).is_file()), root)
    listed, quarantine = _read_list(base / LIST)
    quarantine += _not_listed(root, base, listed)
    files: dict[str, Files] = {}
    for name, patient in listed.items():
        path = relative_path(root, base / name)
        try:
            files[name] = _find_files(base / name, patient.grades)
        except _UnusableError as error:
            kind = "scan" if (base / name).is_dir() else "absent"
            quarantine.append(quarantine_row(name, path, f"{name} {error}", kind=kind, samples=1, row=patient.row))
    absent = sum(row["kind"] == "absent" for row in quarantine)
    ids = list(files)
    folders = [relative_path(root, base / name) for name in ids]
    return Manifest(
        root=root,
        classes=CLASSES,
        scans=scans_table(
            ids,
            [f"{folder}/{files[name].image}" for name, folder in zip(ids, folders, strict=True)],
            masks=[files[n].mask and f"{folder}/{files[n].mask}" for n, folder in zip(ids, folders, strict=True)],
        ),
        samples=whole_scan_samples(
            ids, [listed[name].row for name in ids], [CLASSES.index(str(listed[name].grades[0])) for name in ids]
        ),
        quarantine=quarantine_rows(quarantine),
        notes=(f"{absent} of {len(listed)} patients in {LIST} have no folder",) if absent else (),
        channels=SEQUENCES,
        masks_are_targets=False,
    )


def _read_list(path: AnyPath) -> tuple[dict[str, Listed], list[Row]]:
    """Patients by name, and quarantine rows of lines without one."""
    table = read_csv(path, (GRADE, SUBJECT), text=(GRADE, SUBJECT))
    listed: dict[str, Listed] = {}
    unnamed: list[Row] = []
    for row, (name, grade) in enumerate(zip(table[SUBJECT].to_pylist(), table[GRADE].to_pylist(), strict=True)):
        if name is None or "/" in name:
            reason = f"line {row + 2} of {LIST}: expected the name of a folder as {SUBJECT}, got '{name or ''}'"
            unnamed.append(quarantine_row(None, LIST, reason, kind="sample"))
            continue
        before = listed.get(name, Listed(row, ()))
        listed[name] = Listed(before.row, tuple(dict.fromkeys([*before.grades, grade])))
    return listed, unnamed


def _find_files(folder: AnyPath, grades: tuple[str | None, ...]) -> Files:
    """The files of a patient; _UnusableError where they or the grade cannot be used."""
    _check_patient(folder, grades)
    names = [path.name for path in nifti_files(folder)]
    files = {sequence: _first_of(names, f"{folder.name}_{sequence}") for sequence in SEQUENCES}
    missing = [sequence for sequence, file in files.items() if file is None]
    if missing:
        raise _UnusableError(f"lacks {', '.join(missing)}; its folder holds {', '.join(names) or 'no NIfTI file'}")
    endings = [str(file).removeprefix(f"{folder.name}_") for file in files.values()]
    image = f"{folder.name}_{{{','.join(endings)}}}"
    if mask := _first_of(names, f"{folder.name}_seg"):
        return Files(image, mask)
    # Without the usual name, any other name of a mask will do, if there is only one.
    masks = [file for file in names if case_name(file).lower().endswith(MASK_ENDINGS)]
    if len(masks) > 1:
        raise _UnusableError(f"has more than one mask: {', '.join(masks)}")
    return Files(image, masks[0] if masks else None)


def _check_patient(folder: AnyPath, grades: tuple[str | None, ...]) -> None:
    if not folder.is_dir():
        raise _UnusableError(f"is listed in {LIST}, but has no folder")
    if len(grades) > 1:
        raise _UnusableError(f"has different grades in {LIST}: {' and '.join(map(str, grades))}")
    if grades[0] not in CLASSES:
        raise _UnusableError(f"needs the grade {' or '.join(CLASSES)} in {LIST}, got {grades[0] or 'none'}")


def _first_of(names: list[str], stem: str) -> str | None:
    return next((f"{stem}{suffix}" for suffix in SUFFIXES if f"{stem}{suffix}" in names), None)


def _not_listed(root: AnyPath, base: AnyPath, listed: dict[str, Listed]) -> list[Row]:
    """Folders of patients, and NIfTI files outside of any, that the list does not name."""
    folders = [path for path in matching(base, "*") if path.is_dir() and any(nifti_files(path))]
    return [
        quarantine_row(path.name, text, f"{text} is a folder that {LIST} does not list")
        for path in folders
        if path.name not in listed and (text := relative_path(root, path))
    ] + [
        quarantine_row(case_name(path.name), text, f"{text} lies outside of any patient's folder")
        for path in nifti_files(base)
        if (text := relative_path(root, path))
    ]


BRATS2020 = Layout(
    "brats2020",
    read_brats2020,
    recognize=lambda root: any((root / inner / LIST).is_file() for inner in INNER),
)
