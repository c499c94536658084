"""The same patches for every data loader: volumes, their patches in a regular grid, and fingerprints of these.

Two tasks: a classification of patches of 64×64×10, and a segmentation of crops of 96×96×96 with a label map.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, product
from pathlib import Path

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from voxray.config.experiment import Experiment
from voxray.phantom.luna16 import FLIPPED, draw_scan
from voxray.scans.write import write_metaimage, write_nifti
from voxray.volume import Volume

WINDOW = (-1000.0, 400.0)  # clipped to and scaled to [0, 1]
LUNG_BELOW, BONE_ABOVE = -600, 250
PART = 2**14  # voxels
POSITIVE_EVERY = 10  # patches
SPACING_MM = (0.7, 0.7, 1.25)


@dataclass(frozen=True)
class PeerTask:
    """What is loaded.

    Attributes
    ----------
    name : str
    size : (x, y, z)
        Voxels of a patch.
    grid : (x, y, z)
        Patches of a volume along each axis.
    batch_size : int
    volumes : int
        By default.
    """

    name: str
    size: tuple[int, int, int]
    grid: tuple[int, int, int]
    batch_size: int
    volumes: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels of a volume."""
        x, y, z = (size * count for size, count in zip(self.size, self.grid, strict=True))
        return x, y, z

    @property
    def per_volume(self) -> int:
        """Patches of a volume."""
        return int(np.prod(self.grid))

    def boxes(self) -> Iterator[tuple[slice, ...]]:
        """The patches of a volume, z fastest."""
        for steps in product(*map(range, self.grid)):
            yield tuple(slice(step * size, (step + 1) * size) for step, size in zip(steps, self.size, strict=True))


CLASSIFICATION = PeerTask("classification", (64, 64, 10), (5, 5, 16), 64, 10)
SEGMENTATION = PeerTask("segmentation", (96, 96, 96), (2, 2, 1), 2, 16)
TASKS = {task.name: task for task in (CLASSIFICATION, SEGMENTATION)}


@dataclass(frozen=True)
class PeerData:
    """The files of a task, in a folder of their own."""

    task: PeerTask
    folder: Path

    @property
    def scans(self) -> Path:
        """Whole volumes."""
        return self.folder / "scans"

    @property
    def volumes(self) -> list[Path]:
        """Files of the volumes, in order."""
        pattern = "subset0/*.mhd" if self.task is CLASSIFICATION else "imagesTr/*.nii"
        return sorted(self.scans.glob(pattern))

    @property
    def images(self) -> Path:
        """All patches in one array of int16, (n, 1, x, y, z)."""
        return self.folder / "images.npy"

    @property
    def targets(self) -> Path:
        """Labels (n,), or label maps (n, 1, x, y, z)."""
        return self.folder / "targets.npy"

    @property
    def reference(self) -> Path:
        """Fingerprints of the normalized patches, sorted."""
        return self.folder / "fingerprints.npy"

    def scale(self, images: torch.Tensor) -> torch.Tensor:
        """Clip to the window and scale to [0, 1], as float32."""
        low, high = WINDOW
        return images.float().clamp_(low, high).sub_(low).div_(high - low)

    def experiment(self) -> Experiment:
        """What Voxray is told of the data."""
        is_classification = self.task is CLASSIFICATION
        layout = "luna16" if is_classification else "decathlon"
        patches = {"size": self.task.size, "sampling": "center" if is_classification else "grid"}
        return Experiment.model_validate(
            {
                "name": "benchmark",
                "out": str(self.folder / "run"),
                "data": {"layout": layout, "root": str(self.scans)},
                "split": {"val": 0, "test": 0},
                "patches": {**patches, "negatives_per_positive": "all", "oversample_rotations": [], "pad_value": -1000},
                "intensity": {"kind": "window", "window": WINDOW},
                "model": {"architecture": "none.json"},
            }
        )


def write_data(data: PeerData, volumes: int) -> None:
    """Write the volumes, their patches and the fingerprints."""
    task, count = data.task, volumes * data.task.per_volume
    data.scans.mkdir(parents=True)
    images = open_memmap(data.images, "w+", np.int16, (count, 1, *task.size))
    if task is CLASSIFICATION:
        targets = (np.arange(count) % POSITIVE_EVERY == 0).astype(np.int64)
        np.save(data.targets, targets)
        _write_candidates(data, images, targets)
    else:
        targets = open_memmap(data.targets, "w+", np.uint8, (count, 1, *task.size))
        _write_masks(data, images, targets)
    prints = [
        fingerprints(data.scale(torch.tensor(images[start : start + 16])), torch.tensor(targets[start : start + 16]))
        for start in range(0, count, 16)
    ]
    np.save(data.reference, np.sort(list(chain.from_iterable(prints))))


def _volume(task: PeerTask, number: int) -> tuple[NDArray[np.int16], NDArray[np.uint8]]:
    """Voxels of a chest, and a label map of its lungs and bones by threshold, both (x, y, z)."""
    x, _, z = task.shape
    chest = draw_scan(0, number, matrix=x, nodules_per_scan=(4, 12)).voxels
    voxels = np.resize(chest, (z, x, x)).transpose(2, 1, 0)
    return voxels, np.where(voxels < LUNG_BELOW, 1, np.where(voxels > BONE_ABOVE, 2, 0)).astype(np.uint8)


def _write_candidates(data: PeerData, images: NDArray[np.int16], labels: NDArray[np.int64]) -> None:
    """Scans and candidates as in LUNA16."""
    task = data.task
    (data.scans / "subset0").mkdir()
    lines = ["seriesuid,coordX,coordY,coordZ,class"]
    for number in range(len(images) // task.per_volume):
        name, (voxels, _) = f"1.2.840.{number:04d}", _volume(task, number)
        # In the axes of the patches, so that no loader has to turn them.
        where = {"spacing_mm": SPACING_MM, "origin_mm": (0, 0, 0), "direction": FLIPPED}
        write_metaimage(data.scans / "subset0" / f"{name}.mhd", np.ascontiguousarray(voxels.T), **where)
        for row, box in enumerate(task.boxes(), number * task.per_volume):
            images[row, 0] = voxels[box]
            middle = np.array([side.start + size // 2 for side, size in zip(box, task.size, strict=True)])
            point = middle * SPACING_MM * np.diag(FLIPPED)
            lines.append(",".join([name, *(f"{value:.3f}" for value in point), str(labels[row])]))
    (data.scans / "candidates.csv").write_text("\n".join(lines) + "\n")


def _write_masks(data: PeerData, images: NDArray[np.int16], masks: NDArray[np.uint8]) -> None:
    """Scans and label maps as in the Medical Segmentation Decathlon, but not compressed."""
    task = data.task
    names = [f"CHEST_{number:03d}.nii" for number in range(len(images) // task.per_volume)]
    for folder in ("imagesTr", "labelsTr"):
        (data.scans / folder).mkdir()
    affine = np.diag([*SPACING_MM, 1.0])
    for number, name in enumerate(names):
        voxels, mask = _volume(task, number)
        write_nifti(data.scans / "imagesTr" / name, Volume(voxels[None], affine))
        write_nifti(data.scans / "labelsTr" / name, Volume(mask[None], affine))
        for row, box in enumerate(task.boxes(), number * task.per_volume):
            images[row, 0], masks[row, 0] = voxels[box], mask[box]
    content = {
        "modality": {"0": "CT"},
        "labels": {"0": "background", "1": "lung", "2": "bone"},
        "training": [{"image": f"./imagesTr/{name}", "label": f"./labelsTr/{name}"} for name in names],
    }
    (data.scans / "dataset.json").write_text(json.dumps(content))


def fingerprints(images: torch.Tensor, targets: torch.Tensor) -> list[float]:
    """A number for each patch and its target, in which every voxel has a weight of its own."""
    return [_weighted_sum(image) + _weighted_sum(target) for image, target in zip(images, targets, strict=True)]


def _weighted_sum(values: torch.Tensor) -> float:
    flat, total = values.reshape(-1), 0.0
    # In small parts: large temporary copies would fragment the memory that is measured.
    for start in range(0, len(flat), PART):
        part = flat[start : start + PART].double()
        total += float(part @ torch.arange(start, start + len(part), dtype=torch.float64).div_(len(flat)).add_(1))
    return total


def check_same(data: PeerData, found: Sequence[float], *, each_once: bool) -> None:
    """Raise unless a loader gave the same normalized patches and targets, each once or drawn with replacement."""
    expected, values = np.load(data.reference), np.sort(found)
    tolerance = 1e-6 * float(np.prod(data.task.size))
    if not each_once:
        place = np.searchsorted(expected, values - tolerance)
        expected = expected[np.minimum(place, len(expected) - 1)]
    if len(values) != len(expected) or np.abs(values - expected).max() > tolerance:
        raise ValueError("the patches differ from those of the volumes")
