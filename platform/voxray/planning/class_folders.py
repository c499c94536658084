"""A folder for each class: ``normal/a.nii.gz``, ``tumor/b.nii.gz``, also below ``train`` and ``test``."""

from collections import Counter
from collections.abc import Sequence
from pathlib import PurePosixPath

from voxray.planning.found import CHANNEL, Case, Found, LeftOver
from voxray.planning.names import SPLIT_WORDS

LEAST = 2  # scans of a class on average: folders with one scan each are cases, not classes


def find_class_folders(paths: Sequence[str]) -> Found | None:
    """Cases with the class of their folder; None where folders are no classes.

    Folders inside a class's folder are patients.

    Parameters
    ----------
    paths : sequence of str
        Scans, relative to the root.
    """
    cases, left_over = [], []
    for path in paths:
        folders = list(PurePosixPath(path).parts[:-1])
        split = next((SPLIT_WORDS[name.lower()] for name in folders[:2] if name.lower() in SPLIT_WORDS), None)
        folders = [name for name in folders[:2] if name.lower() not in SPLIT_WORDS] + folders[2:]
        if not folders:
            left_over.append(LeftOver(path, "lies in the folder of no class"))
            continue
        patient = "/".join(folders) if len(folders) > 1 else None
        cases.append(Case(path, {CHANNEL: path}, label=folders[0], patient=patient, split=split))
    counts = Counter(case.label for case in cases)
    if len(counts) < 2 or len(cases) < LEAST * len(counts) or len(left_over) > len(cases):
        return None
    notes = ["the folders inside the folder of a class are patients"] if any(case.patient for case in cases) else []
    return Found("a folder for each class", tuple(cases), tuple(left_over), tuple(notes))
