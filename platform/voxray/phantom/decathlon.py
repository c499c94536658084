"""A synthetic task 01 of the Medical Segmentation Decathlon: brains with tumors in the layout of the public data set.

`dataset.json`, `imagesTr/BRATS_001.nii.gz` with the sequences as fourth axis, and `labelsTr`. Everything about a case
follows from the seed and the case's number.
"""

import json
import multiprocessing
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import numpy as np

from voxray.errors import ConfigError
from voxray.phantom.brain import AFFINE, CHANNELS, Brain, check_shape, draw_brain
from voxray.scans.write import write_nifti
from voxray.storage.atomic import write_text
from voxray.volume import Volume

WHERE = "phantom decathlon"
MODALITY = ("FLAIR", "T1w", "t1gd", "T2w")
# Spelled as in the public file.
LABELS = ("background", "edema", "non-enhancing tumor", "enhancing tumor")

Job = tuple[Path, int, int, tuple[int, int, int], int]


def write_decathlon(
    root: Path,
    *,
    cases: int = 8,
    seed: int = 0,
    shape: tuple[int, int, int] = (240, 240, 155),
    channels: int = 4,
    progress: Callable[[int, int], None] | None = None,
    workers: int = 1,
) -> None:
    """Write a synthetic brain tumor task.

    Parameters
    ----------
    root
        Folder to fill; made where it is missing.
    cases
        Number of images and masks.
    seed
        Same seed, same files.
    shape
        Voxels along x, y, z of 1 mm each. A smaller grid shows a smaller brain, whole; at least 24 each.
    channels
        The first so many of FLAIR, T1w, T1gd and T2w. One alone gives images without a fourth axis.
    progress
        Called with the number of cases written and of all cases, after each case.
    workers
        Processes; the files do not depend on it. More than one starts fresh interpreters, so the calling script needs
        the usual `if __name__ == "__main__"`.

    Raises
    ------
    ConfigError
        If a number makes no sense.
    """
    _check_sizes(cases, shape, channels)
    for folder in ("imagesTr", "labelsTr"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    jobs = [(root, seed, number, shape, channels) for number in range(cases)]
    for done, _ in enumerate(_in_any_order(jobs, workers), start=1):
        if progress is not None:
            progress(done, cases)
    # Last, so that a folder with this file has all that it lists.
    text = json.dumps(_description(cases, channels), indent=1)
    write_text(root / "dataset.json", text)


def draw_case(seed: int, number: int, *, shape: tuple[int, int, int], channels: int = 4) -> Brain:
    """Draw one case; a pure function of its arguments, which are those of `write_decathlon` and the case's number."""
    return draw_brain(np.random.default_rng([seed, number]), shape, channels)


def _check_sizes(cases: int, shape: tuple[int, int, int], channels: int) -> None:
    """Raise for numbers of which no data set can be made."""
    if cases < 1:
        raise ConfigError(WHERE, f"a data set has at least one case, got {cases}", "Raise cases")
    check_shape(shape, WHERE)
    if not 1 <= channels <= CHANNELS:
        raise ConfigError(WHERE, f"there are {CHANNELS} sequences, got {channels} channels", f"Use 1 to {CHANNELS}")


def _description(cases: int, channels: int) -> dict[str, Any]:
    """`dataset.json` with the keys, in the order, of the public file."""
    names = [_case_name(number) for number in range(cases)]
    return {
        "name": "BRATS",
        "description": "Synthetic gliomas: tumor and oedema in brain images",
        "reference": "voxray phantom decathlon",
        "licence": "CC0",
        "release": "1.0",
        "tensorImageSize": "4D" if channels > 1 else "3D",
        "modality": {str(number): name for number, name in enumerate(MODALITY[:channels])},
        "labels": {str(number): name for number, name in enumerate(LABELS)},
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


def _in_any_order(jobs: list[Job], workers: int) -> Iterator[None]:
    """Write all cases, here or in processes, and yield as each is done."""
    if workers <= 1:
        for job in jobs:
            _write_case(*job)
            yield
        return
    # A fork of a process with threads (torch, ray) may deadlock.
    with ProcessPoolExecutor(workers, multiprocessing.get_context("spawn")) as pool:
        for future in as_completed([pool.submit(_write_case, *job) for job in jobs]):
            future.result()
            yield
