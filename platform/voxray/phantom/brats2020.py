"""A synthetic BraTS 2020: brains with gliomas of high and low grade in the layout of the public training set.

``BraTS20_Training_001/BraTS20_Training_001_{flair,t1,t1ce,t2,seg}.nii`` and ``name_mapping.csv``. A tumor of high
grade has a ring that takes up contrast around a necrosis; one of low grade has neither. Every fifth patient is of low
grade, as in the public set. Everything about a patient follows from the seed and the patient's number.
"""

from pathlib import Path

import numpy as np

from voxray.phantom.brain import AFFINE, CHANNELS, NESTED, Brain, Parts, check_shape, draw_brain
from voxray.phantom.parallel import OnWritten, check_count, run_jobs
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_text
from voxray.volume import Volume

WHERE = "phantom brats2020"
SEQUENCES = ("flair", "t1", "t1ce", "t2")
HIGH, LOW = "HGG", "LGG"
LOW_EVERY = 5
EDEMA = NESTED[0]
PARTS: dict[str, Parts] = {
    HIGH: (EDEMA, ("enhancing", 0.05, 0.35, 0.7), ("necrosis", 0.05, 0.3, 0.6)),
    LOW: (EDEMA, ("core", 0.05, 0.35, 0.7)),
}
# The public numbers of nothing and of these parts: 1 necrotic or not enhancing, 2 oedema, 4 enhancing.
LABELS = {HIGH: (0, 2, 4, 1), LOW: (0, 2, 1)}
# The one public mask of another name.
MASK_NAMES = {355: "W39_1998.09.19_Segm"}
COLUMNS = (
    "Grade",
    "BraTS_2017_subject_ID",
    "BraTS_2018_subject_ID",
    "TCGA_TCIA_subject_ID",
    "BraTS_2019_subject_ID",
    "BraTS_2020_subject_ID",
)


def write_brats2020(
    root: Path,
    *,
    patients: int = 20,
    seed: int = 0,
    shape: tuple[int, int, int] = (240, 240, 155),
    progress: OnWritten | None = None,
) -> None:
    """Write a synthetic BraTS 2020 training set.

    Parameters
    ----------
    root : Path
        Folder to fill; created if it is missing.
    patients, seed : int
        Number of patients; the same seed gives the same files.
    shape : (x, y, z)
        Voxels of 1 mm each. A smaller grid shows a smaller brain, whole; at least 24 each.
    progress : callable, optional
        Called after each patient.

    Raises
    ------
    ConfigError
        A number is out of range.
    """
    check_count(WHERE, "patients", patients)
    check_shape(shape, WHERE)
    lines = run_jobs(_write_patient, [(root, seed, number, shape) for number in range(1, patients + 1)], progress)
    # Last, so that a folder with this file is complete.
    write_text(root / "name_mapping.csv", "\n".join([",".join(COLUMNS), *lines]) + "\n")


def grade_of(number: int) -> str:
    """HGG or LGG, of a patient's number from 1."""
    return LOW if number % LOW_EVERY == 0 else HIGH


def draw_patient(seed: int, number: int, *, shape: tuple[int, int, int]) -> Brain:
    """Draw one patient, numbered from 1, with the public numbers of its tumor's parts."""
    grade = grade_of(number)
    brain = draw_brain(np.random.default_rng([seed, number]), shape, CHANNELS, PARTS[grade])
    return Brain(brain.voxels, np.array(LABELS[grade], np.uint8)[brain.label])


def _write_patient(root: Path, seed: int, number: int, shape: tuple[int, int, int]) -> str:
    """Write the files of a patient; its line in the list."""
    name, brain = f"BraTS20_Training_{number:03d}", draw_patient(seed, number, shape=shape)
    (root / name).mkdir(parents=True, exist_ok=True)
    for channel, sequence in enumerate(SEQUENCES):
        write_nifti(root / name / f"{name}_{sequence}.nii", Volume(brain.voxels[None, ..., channel], AFFINE))
    write_nifti(root / name / f"{MASK_NAMES.get(number, f'{name}_seg')}.nii", Volume(brain.label[None], AFFINE))
    return ",".join([grade_of(number), *["NA"] * (len(COLUMNS) - 2), name])
