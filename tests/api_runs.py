"""Small finished runs for the tests of the public API: of a classifier of candidates, of scans, and of folds."""

import json
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
from scenes import SMALL_NET, SMALL_UNET, experiment, write_luna, write_toml

import voxray
from voxray.phantom.decathlon import write_decathlon


@dataclass(frozen=True)
class ApiRuns:
    """Folders of finished runs, and files that examples use."""

    candidates: Path
    classifier: Path
    segmentation: Path
    folds: Path
    scan: Path
    brain: Path

    @property
    def names(self) -> dict[str, str]:
        """What the examples in docstrings and docs call them."""
        return {
            "scan": str(self.scan),
            "brain": str(self.brain),
            "chest": str(self.classifier.parents[1] / "chests" / "s1.nii.gz"),
            "run_folder": str(self.candidates),
            "classifier_folder": str(self.classifier),
            "segmentation_folder": str(self.segmentation),
            "folds_folder": str(self.folds),
            "experiment_file": str(self.candidates.parent / "experiment.toml"),
        }


def write_chests(root: Path, scans: int = 12) -> None:
    """A table of small scans with and without a bright box."""
    rng = np.random.default_rng(0)
    lines = ["path,label,patient_id"]
    for number in range(scans):
        voxels = rng.integers(-1000, -600, (14, 15, 9)).astype(np.int16)
        if number % 2:
            voxels[4:9, 5:10, 3:6] = 200
        nibabel.save(nibabel.Nifti1Image(voxels, np.diag([-1.0, 1.0, 2.0, 1.0])), root / f"s{number}.nii.gz")
        lines.append(f"s{number}.nii.gz,{('well', 'ill')[number % 2]},p{number}")
    (root / "manifest.csv").write_text("\n".join(lines) + "\n")


def make_api_runs(folder: Path) -> ApiRuns:
    """Ingest, train and evaluate all of them through the API."""
    for name in ("luna", "chests", "brains", "candidates", "classifier", "segmentation", "folds"):
        (folder / name).mkdir()
        (folder / name / "architecture.json").write_text(
            json.dumps(SMALL_UNET) if name == "segmentation" else SMALL_NET
        )
    series = write_luna(folder / "luna", 8, bright=900)
    write_chests(folder / "chests")
    write_decathlon(folder / "brains", cases=6, seed=1, shape=(40, 36, 24))
    scans = {
        "data": {"layout": "table", "classes": ["well", "ill"]},
        "patches": {
            "size": [12, 12, 6],
            "sampling": "resized",
            "negatives_per_positive": "all",
            "oversample_rotations": [],
        },
        "training": {"epochs": 2, "learning_rate": 0.01, "batch_size": 4},
    }
    masks = {
        "data": {"layout": "decathlon"},
        "patches": {"size": [24, 24, 12], "sampling": "grid", "oversample_rotations": [], "pad_value": 0},
        "store": {"dtype": "float32", "chunk_bytes": 2**18, "shard_bytes": 2**20},
        "intensity": {"kind": "zscore_nonzero"},
        "training": {"loss": "dice", "monitor": "dice", "batch_size": 4, "learning_rate": 0.01, "epochs": 1},
    }
    specs = {
        "candidates": experiment(folder / "luna", folder / "candidates" / "run"),
        "classifier": experiment(folder / "chests", folder / "classifier" / "run", **scans),
        "segmentation": experiment(folder / "brains", folder / "segmentation" / "run", **masks),
        "folds": experiment(folder / "chests", folder / "folds" / "run", **scans, split={"folds": 2, "val": 0.4}),
    }
    for name, spec in specs.items():
        voxray.run(write_toml(folder / name / "experiment.toml", spec))
    return ApiRuns(
        *(folder / name / "run" for name in ("candidates", "classifier", "segmentation", "folds")),
        scan=folder / "luna" / "subset0" / f"{series[0]}.mhd",
        brain=sorted((folder / "brains" / "imagesTr").glob("*.nii.gz"))[0],
    )
