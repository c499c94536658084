"""A synthetic task 01 of the Medical Segmentation Decathlon: brains with tumors in the layout of the public data set.

`dataset.json`, `imagesTr/BRATS_001.nii.gz` with the sequences as fourth axis, and `labelsTr`. Everything about a case
follows from the seed and the case's number.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from voxray.errors import ConfigError
from voxray.phantom.brain import AFFINE, CHANNELS, Brain, check_shape, draw_brain
from voxray.phantom.parallel import OnWritten, check_count, run_jobs
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_text
from voxray.volume import Volume

WHERE = "phantom decathlon"
MODALITY = ("FLAIR", "T1w", "t1gd", "T2w")
# Spelled as in the public file.
LABELS = ("background", "edema", "non-enhancing tumor", "enhancing tumour")


def write_decathlon(
    root: Path,
    *,
    cases: int = 8,
    seed: int = 0,
    shape: tuple[int, int, int] = (240, 240, 155),
    channels: int = 4,
    progress: OnWritten | None = None,
    workers: int = 1,
) -> None:
    """Write a synthetic brain tumor task.

    Parameters
    ----------
    root : Path
        Folder to fill; created if it is missing.
    cases, seed : int
        Number of images and masks; the same seed gives the same files.
    shape : (x, y, z)
        Voxels of 1 mm each. A smaller grid shows a smaller brain, whole; at least 24 each.
    channels : int
        The first channels of FLAIR, T1w, T1gd and T2w. One alone gives images without a fourth axis.
    progress : callable, optional
        Called after each case.
    workers : int
        Processes; the files do not depend on it. See `run_jobs`.

    Raises
    ------
    ConfigError
        A number is out of range.
    """
    check_count(WHERE, "cases", cases)
    check_shape(shape, WHERE)
    if not 1 <= channels <= CHANNELS:
        raise ConfigError(WHERE, f"channels: expected 1 to {CHANNELS}, got {channels}", "Correct it")
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    jobs = [(root, seed, number, shape, channels) for number in range(cases)]
    run_jobs(_write_case, jobs, progress, workers)
    # Last, so that a folder with this file is complete.
    write_text(root / "dataset.json", json.dumps(_description(cases, channels), indent=1))


def draw_case(seed: int, number: int, *, shape: tuple[int, int, int], channels: int = 4) -> Brain:
    """Draw one case; a pure function of its arguments, which are those of `write_decathlon` and the case's number."""
    return draw_brain(np.random.default_rng([seed, number]), shape, channels)


def _description(cases: int, channels: int) -> dict[str, Any]:
    """`dataset.json` with the keys, in the order, of the public file."""
    names = [_case_name(number) for number in range(cases)]
    return {
        "name": "BRATS",
        "description": "Synthetic gliomas: tumour and oedema in brain images",
        "reference": "voxray phantom decathlon",
        "licence": "CC0",
        "release": "1.0",
        "tensorImageSize": "4D" if channels > 1 else "3D",
        "modality": dict(zip("0123", MODALITY[:channels], strict=False)),
        "labels": dict(zip("0123", LABELS, strict=True)),
        "numTraining": cases,
        "numTest": 0,
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
        "test": [],
    }


def _case_name(number: int) -> str:
    return f"BRATS_{number + 1:03d}.nii.gz"


def _write_case(root: Path, seed: int, number: int, shape: tuple[int, int, int], channels: int) -> None:
    brain = draw_case(seed, number, shape=shape, channels=channels)
    write_nifti(root / "imagesTr" / _case_name(number), Volume(np.moveaxis(brain.voxels, -1, 0), AFFINE))
    write_nifti(root / "labelsTr" / _case_name(number), Volume(brain.label[None], AFFINE))
