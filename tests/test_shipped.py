"""Every shipped experiment, run for one epoch on a handful of tiny scans in the layout that it names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image
from scenes import write_annotations, write_luna

from voxray.config.load import load_experiment
from voxray.executors.local import LocalExecutor
from voxray.phantom.brats2020 import write_brats2020
from voxray.phantom.decathlon import write_decathlon
from voxray.phantom.mosmed import write_mosmed
from voxray.stages.evaluate import evaluate
from voxray.stages.ingest import ingest
from voxray.stages.train import train

EXPERIMENTS = sorted((Path(__file__).parents[1] / "configs" / "experiments").glob("*.toml"))
RNG = np.random.default_rng(0)


@dataclass(frozen=True)
class Small:
    """What an experiment is tried on: writes the data below a folder and says where; what is shrunk."""

    data: Callable[[Path], Path]
    settings: tuple[str, ...] = ()


def nodules(folder: Path) -> Path:
    write_luna(folder, 8, negatives=4)
    write_annotations(folder)
    return folder


def crops(folder: Path) -> Path:
    lines = ["path,label,split"]
    for number in range(18):
        Image.fromarray(RNG.integers(0, 255, (50, 50), dtype=np.uint8)).save(folder / f"{number}.png")
        lines.append(f"{number}.png,{number % 2},{('train', 'val', 'test')[number // 2 % 3]}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def outlined_nodules(folder: Path) -> Path:
    lines = ["path,mask,label,patient_id"]
    for number in range(20):
        for kind, dtype in (("image", np.int16), ("mask", np.uint8)):
            voxels = RNG.integers(0, 2, (20, 20, 12)).astype(dtype)
            nibabel.save(nibabel.Nifti1Image(voxels, np.diag([1, 1, 1.5, 1])), folder / f"{kind}{number}.nii.gz")
        lines.append(f"image{number}.nii.gz,mask{number}.nii.gz,{number % 2},p{number}")
    (folder / "manifest.csv").write_text("\n".join(lines))
    return folder


def glands(folder: Path) -> Path:
    content = {}
    for split in ("train", "val", "test"):
        content[f"{split}_images"] = RNG.integers(0, 256, (8, 28, 28, 28), dtype=np.uint8)
        content[f"{split}_labels"] = (np.arange(8, dtype=np.uint8) % 2)[:, None]
    np.savez(folder / "small.npz", **content)
    return folder / "small.npz"


def brains(folder: Path) -> Path:
    write_decathlon(folder, cases=3, shape=(24, 24, 24))
    return folder


def one_sequence(folder: Path) -> Path:
    write_decathlon(folder, cases=5, shape=(32, 40, 32), channels=1)
    return folder


def chests(folder: Path) -> Path:
    write_mosmed(folder, scans=8, matrix=32)
    return folder


def gliomas(folder: Path) -> Path:
    write_brats2020(folder, patients=16, shape=(32, 32, 24))
    return folder


SMALL_SPHERES = ("patches.size=[16, 16, 16]", "patches.patches_per_scan=1", "evaluation.overlap=0")
SMALL = {
    "adrenal_mnist3d": Small(glands),
    "brats2020_resnet18": Small(gliomas, ("patches.size=[32, 32]", "patches.patches_per_scan=2")),
    "brats_unet3d": Small(brains, ("patches.size=[24, 24, 8]", "patches.patches_per_scan=1", "evaluation.overlap=0")),
    "demo": Small(nodules),
    "hippocampus_unet3d": Small(one_sequence, ("patches.size=[16, 16, 16]", "evaluation.overlap=0")),
    "lidc_malignancy": Small(outlined_nodules, ("patches.size=[16, 16, 12]", "split.fold=0")),
    "luna16_cnn2d": Small(nodules),
    "luna16_cnn3d": Small(nodules, ("patches.size=[32, 32, 10]",)),
    "luna16_crops_cnn2d": Small(crops),
    "luna16_detection": Small(nodules, ("patches.size=[32, 32, 10]", "split.fold=0")),
    "luna16_proposals_unet3d": Small(nodules, (*SMALL_SPHERES, "split.fold=0")),
    "mosmed_cnn3d": Small(chests, ("patches.size=[62, 46, 46]",)),
    "phantom_cnn2d": Small(nodules),
    "phantom_cnn3d": Small(nodules, ("patches.size=[32, 32, 10]",)),
    "phantom_detection": Small(nodules, ("split.fold=0",)),
    "phantom_proposals_unet3d": Small(nodules, (*SMALL_SPHERES, "split.fold=0")),
}
SHORT = ("training.epochs=1", "training.device=cpu", "tracking.mode=disabled")


@pytest.mark.parametrize("file", EXPERIMENTS, ids=lambda file: file.stem)
def test_it_runs_from_scans_to_metrics(file: Path, tmp_path: Path) -> None:
    small = SMALL[file.stem]
    (tmp_path / "data").mkdir()
    root = small.data(tmp_path / "data")
    spec = load_experiment(file, [f"data.root={root}", f"out={tmp_path / 'run'}", *SHORT, *small.settings])
    for stage in (ingest, train, evaluate):
        stage(spec, LocalExecutor(), lambda line: None)  # type: ignore[operator]
    assert (tmp_path / "run" / "metrics.json").exists()
